package tracing

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// maxState bounds the tracestate that is passed on: what the specification wants to be passed on at least.
// One that is longer is dropped as a whole.
const maxState = 512

// knownFlags are those of a traceparent that mean something: sampled, and that the trace's id is random. Others
// are ignored and not passed on, says the specification.
const knownFlags = trace.FlagsSampled | trace.FlagsRandom

const traceparentLen = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

// IDs are a trace's and a span's ids in hex, for log lines; "" where there is none.
type IDs struct{ Trace, Span string }

// FromHeaders returns ctx below the trace that a request's headers name, and its ids: that of traceparent, or of
// Google's X-Cloud-Trace-Context where there is no well-formed traceparent. Headers that are malformed or occur
// twice are ignored, as W3C Trace Context wants; they never refuse a request.
func FromHeaders(ctx context.Context, h http.Header) (context.Context, IDs) {
	if s := only(h["Traceparent"]); s != "" {
		if sc, ok := Parse(s); ok {
			if state := h["Tracestate"]; len(state) > 0 {
				sc = sc.WithTraceState(parseState(state))
			}
			return trace.ContextWithRemoteSpanContext(ctx, sc), IDs{Trace: s[3:35], Span: s[36:52]}
		}
	}
	if sc, ok := parseCloud(only(h["X-Cloud-Trace-Context"])); ok {
		return trace.ContextWithRemoteSpanContext(ctx, sc), idsOf(sc)
	}
	return ctx, IDs{}
}

// Inject puts the trace that ctx belongs to into the headers of a request to be sent.
func Inject(ctx context.Context, h http.Header) {
	s := Traceparent(ctx)
	if s == "" {
		return
	}
	h["Traceparent"] = []string{s}
	if state := trace.SpanContextFromContext(ctx).TraceState().String(); state != "" {
		h["Tracestate"] = []string{state}
	}
}

// Traceparent returns the trace that ctx belongs to as a traceparent, "" where it belongs to none. It is what
// goes with a published event.
func Traceparent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	traceID, spanID := sc.TraceID(), sc.SpanID()
	b := make([]byte, 0, traceparentLen)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, traceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, spanID[:])
	b = append(b, '-')
	return string(hex.AppendEncode(b, []byte{byte(sc.TraceFlags() & knownFlags)}))
}

// Parse parses a traceparent (W3C Trace Context, level 2 §3.2).
func Parse(s string) (sc trace.SpanContext, ok bool) {
	if len(s) < traceparentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return sc, false
	}
	var version, flags [1]byte
	var traceID trace.TraceID
	var spanID trace.SpanID
	switch {
	case !unhex(version[:], s[:2]) || version[0] == 0xff,
		version[0] == 0 && len(s) != traceparentLen,
		len(s) > traceparentLen && s[traceparentLen] != '-',
		!unhex(traceID[:], s[3:35]) || !traceID.IsValid(),
		!unhex(spanID[:], s[36:52]) || !spanID.IsValid(),
		!unhex(flags[:], s[53:55]):
		return sc, false
	}
	return remote(traceID, spanID, trace.TraceFlags(flags[0])&knownFlags), true
}

// parseCloud parses TRACE/SPAN;o=OPTIONS, where the span is decimal and the options may be missing.
func parseCloud(s string) (sc trace.SpanContext, ok bool) {
	var traceID trace.TraceID
	if len(s) < 34 || len(s) > 64 || s[32] != '/' || !unhex(traceID[:], s[:32]) || !traceID.IsValid() {
		return sc, false
	}
	span, options, _ := strings.Cut(s[33:], ";")
	n, err := strconv.ParseUint(span, 10, 64)
	if err != nil || n == 0 {
		return sc, false
	}
	var spanID trace.SpanID
	binary.BigEndian.PutUint64(spanID[:], n)
	return remote(traceID, spanID, trace.TraceFlags(0).WithSampled(options == "o=1")), true
}

func remote(traceID trace.TraceID, spanID trace.SpanID, flags trace.TraceFlags) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: flags, Remote: true})
}

// parseState parses a tracestate, which may stand in several lines; a malformed one is none.
func parseState(lines []string) trace.TraceState {
	size := len(lines) - 1
	for _, line := range lines {
		size += len(line)
	}
	if size > maxState {
		return trace.TraceState{}
	}
	state, err := trace.ParseTraceState(strings.Join(lines, ","))
	if err != nil {
		return trace.TraceState{}
	}
	return state
}

// idsOf returns the ids of a span, none of one that has none.
func idsOf(sc trace.SpanContext) IDs {
	if !sc.IsValid() {
		return IDs{}
	}
	return IDs{Trace: sc.TraceID().String(), Span: sc.SpanID().String()}
}

// only returns the value of a header that occurs exactly once, otherwise "".
func only(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return ""
}

// unhex decodes lower-case hex of exactly dst's length; the specification allows no other case.
func unhex(dst []byte, s string) bool {
	for i := range dst {
		high, low := digit(s[2*i]), digit(s[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
