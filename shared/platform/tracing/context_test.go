package tracing_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/isectech/service-networking/shared/platform/tracing"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	parent  = "00-" + traceID + "-" + spanID + "-01"
)

func TestFromHeaders(t *testing.T) {
	t.Parallel()
	const cloud = "105445aa7843bc8bf206b12000100000/74;o=1"
	long := "a=" + strings.Repeat("b", 256) + ",c=" + strings.Repeat("d", 254)
	for _, tt := range []struct {
		name   string
		header http.Header
		want   string // what is passed on
		state  string
	}{
		{"none", http.Header{}, "", ""},
		{"traceparent", http.Header{"Traceparent": {parent}}, parent, ""},
		{"not sampled", http.Header{"Traceparent": {parent[:53] + "00"}}, parent[:53] + "00", ""},
		{"of a random id", http.Header{"Traceparent": {parent[:53] + "03"}}, parent[:53] + "03", ""},
		{"flags that nobody knows", http.Header{"Traceparent": {parent[:53] + "fe"}}, parent[:53] + "02", ""},
		{"of a later version", http.Header{"Traceparent": {"cc" + parent[2:] + "-x"}}, parent, ""},
		{"two traceparents", http.Header{"Traceparent": {parent, parent}}, "", ""},
		{"malformed", http.Header{"Traceparent": {strings.ToUpper(parent)}}, "", ""},
		{"with state", http.Header{"Traceparent": {parent}, "Tracestate": {"a=b", "c=d"}}, parent, "a=b,c=d"},
		{"state alone", http.Header{"Tracestate": {"a=b"}}, "", ""},
		{"malformed state", http.Header{"Traceparent": {parent}, "Tracestate": {"a=b,\x00"}}, parent, ""},
		{"long state", http.Header{"Traceparent": {parent}, "Tracestate": {long + "x"}}, parent, ""},
		{"many states", http.Header{"Traceparent": {parent}, "Tracestate": make([]string, 1000)}, parent, ""},
		{"Google's", http.Header{"X-Cloud-Trace-Context": {cloud}}, "00-105445aa7843bc8bf206b12000100000-000000000000004a-01", ""},
		{"Google's, not sampled", http.Header{"X-Cloud-Trace-Context": {cloud[:len(cloud)-1] + "0"}}, "00-105445aa7843bc8bf206b12000100000-000000000000004a-00", ""},
		{"Google's without options", http.Header{"X-Cloud-Trace-Context": {cloud[:len(cloud)-4]}}, "00-105445aa7843bc8bf206b12000100000-000000000000004a-00", ""},
		{"both", http.Header{"Traceparent": {parent}, "X-Cloud-Trace-Context": {cloud}}, parent, ""},
		{"Google's beside a malformed one", http.Header{"Traceparent": {"x"}, "X-Cloud-Trace-Context": {cloud}}, "00-105445aa7843bc8bf206b12000100000-000000000000004a-01", ""},
		{"Google's twice", http.Header{"X-Cloud-Trace-Context": {cloud, cloud}}, "", ""},
		{"Google's of span 0", http.Header{"X-Cloud-Trace-Context": {traceID + "/0"}}, "", ""},
		{"Google's of no span", http.Header{"X-Cloud-Trace-Context": {traceID + "/"}}, "", ""},
		{"Google's of a large span", http.Header{"X-Cloud-Trace-Context": {traceID + "/18446744073709551616"}}, "", ""},
		{"Google's of no trace", http.Header{"X-Cloud-Trace-Context": {strings.Repeat("0", 32) + "/1"}}, "", ""},
		{"Google's, overlong", http.Header{"X-Cloud-Trace-Context": {cloud + strings.Repeat("1", 64)}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, ids := tracing.FromHeaders(t.Context(), tt.header)
			sent := http.Header{}
			tracing.Inject(ctx, sent)
			want := http.Header{}
			if tt.want != "" {
				want["Traceparent"] = []string{tt.want}
				if ids != (tracing.IDs{Trace: tt.want[3:35], Span: tt.want[36:52]}) {
					t.Errorf("ids %+v", ids)
				}
			} else if ids != (tracing.IDs{}) {
				t.Errorf("ids %+v", ids)
			}
			if tt.state != "" {
				want["Tracestate"] = []string{tt.state}
			}
			if d := cmp.Diff(want, sent); d != "" {
				t.Error(d)
			}
		})
	}
}

// What is accepted is what OpenTelemetry's own propagator accepts, and is passed on as it came.
func FuzzFromHeaders(f *testing.F) {
	f.Add(parent, "a=b", "")
	f.Add("cc"+parent[2:]+"-x", "", "")
	f.Add("", "", traceID+"/1;o=1")
	f.Add("ff"+parent[2:], "a=b,a=c", "x/1")
	f.Fuzz(func(t *testing.T, traceparent, state, cloud string) {
		h := http.Header{"Traceparent": {traceparent}}
		if state != "" {
			h["Tracestate"] = []string{state}
		}
		ctx, ids := tracing.FromHeaders(t.Context(), h)
		got := trace.SpanContextFromContext(ctx)
		theirs := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(h)))
		if got.IsValid() && !got.IsRemote() {
			t.Error("ours is not remote")
		}
		// Of later versions they want what they know of version 0 alone, and refuse flags that they do not know. The
		// specification wants neither.
		if (got.IsValid() != theirs.IsValid() || got.TraceID() != theirs.TraceID() || got.SpanID() != theirs.SpanID() ||
			got.IsSampled() != theirs.IsSampled()) && strings.HasPrefix(traceparent, "00-") && len(traceparent) == len(parent) && strings.HasPrefix(traceparent[53:], "0") && traceparent[54] <= '3' {
			t.Errorf("%q: %v, theirs %v", traceparent, got, theirs)
		}
		if s := tracing.Traceparent(ctx); got.IsValid() && (s[3:35] != ids.Trace || s[36:52] != ids.Span || !strings.Contains(traceparent, s[3:52])) {
			t.Errorf("%q is passed on as %q", traceparent, s)
		}
		ctx, ids = tracing.FromHeaders(t.Context(), http.Header{"X-Cloud-Trace-Context": {cloud}})
		if s := tracing.Traceparent(ctx); s != "" {
			if _, ok := tracing.Parse(s); !ok || !strings.HasPrefix(cloud, ids.Trace) {
				t.Errorf("%q is passed on as %q", cloud, s)
			}
		}
	})
}
