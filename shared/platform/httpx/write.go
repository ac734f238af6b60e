package httpx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Mapping says how an error of the domain is answered. Make, when set, is given the error that matched;
// otherwise the answer is As with the error as its cause.
type Mapping struct {
	Is   error
	As   *Error
	Make func(err error) *Error
}

// Table maps the sentinels of a function's domain to answers; the first that matches counts.
type Table []Mapping

// answer returns the table's answer to err, or nil.
func (t Table) answer(err error) *Error {
	for _, m := range t {
		if !errors.Is(err, m.Is) {
			continue
		}
		if m.Make != nil {
			return m.Make(err)
		}
		return m.As.Because(err)
	}
	return nil
}

// statusClientClosed is what logs and metrics call a request whose caller went away; nobody reads it.
const statusClientClosed = 499

// AsError returns the answer to err within a request: an *Error as it is, a refusal by its reason, then the
// table of Wrap, a body over its limit, the request's end, and internal for everything else.
func AsError(ctx context.Context, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		if direct, ok := err.(*Error); e.Err == nil && (!ok || direct != e) { //nolint:errorlint // asks whether e is wrapped
			return e.Because(err)
		}
		return e
	}
	if r, ok := errors.AsType[*auth.Refusal](err); ok {
		return Refused(r.Reason, r.Detail).Because(err)
	}
	if errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled) {
		// Before the table, which would call it the fault of whatever was waiting.
		return &Error{Status: statusClientClosed, Code: "client_closed_request", Message: "the caller went away", Err: err}
	}
	if e := runtimeOf(ctx).errors.answer(err); e != nil {
		return e
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return TooLarge(tooLarge.Limit)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Unavailable(time.Second, "the request took too long").Because(err)
	}
	return Internal(err)
}

// WriteError answers with err: its JSON body has error, message, request_id, timestamp and the error's own
// fields. Whatever the handler wrote before is dropped. It belongs inside Wrap, which knows the clock, the
// table and where to log the cause of a 5xx.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	rt := runtimeOf(r.Context())
	e := AsError(r.Context(), err)
	if e.Status >= http.StatusInternalServerError {
		rt.logger.LogAttrs(r.Context(), slog.LevelError, "request failed",
			slog.Int("status", e.Status), slog.String("code", e.Code), slog.String("cause", err.Error()))
	}
	Annotate(r.Context(), slog.String("error_code", e.Code))
	if reason, ok := e.Fields["reason"].(string); ok {
		Annotate(r.Context(), slog.String("reason", reason))
	}
	if b, ok := w.(interface{ reset() }); ok {
		b.reset()
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Length", "Etag", "Last-Modified", "Location"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	maps.Copy(h, e.Header.Clone())
	h.Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(e.body(rt.now, telemetry.RequestOf(r.Context()).ID)) // a caller that is gone cannot be told
}

// body encodes the error, its four fixed members first.
func (e *Error) body(now func() time.Time, requestID string) []byte {
	var out bytes.Buffer
	enc := jsontext.NewEncoder(&out, jsontext.AllowInvalidUTF8(true))
	write := func(name string, value any) {
		encoded, err := marshal(value)
		if err != nil {
			return // a member that cannot be encoded is left out rather than the whole error
		}
		_ = enc.WriteToken(jsontext.String(name)) // a bytes.Buffer does not fail, and the names are distinct
		_ = enc.WriteValue(encoded)
	}
	_ = enc.WriteToken(jsontext.BeginObject)
	write("error", e.Code)
	write("message", e.Message)
	write("request_id", requestID)
	if now != nil {
		write("timestamp", now().UTC().Format(time.RFC3339))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		switch name {
		case "error", "message", "request_id", "timestamp":
		default:
			write(name, e.Fields[name])
		}
	}
	_ = enc.WriteToken(jsontext.EndObject)
	return out.Bytes()
}

// WriteJSON answers with v as JSON: no HTML escaping, nil slices as [], map members sorted, a newline at
// the end. Nothing is written when v cannot be encoded.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// AppendJSON answers with the JSON that encode appends, a newline at its end. It is for what programs ask with every
// call of theirs: the answer goes without the headers that browsers alone heed, and its length is counted by whoever
// sends it. With eight headers of its own or fewer it takes half the time that it takes with one more, as maps go.
func AppendJSON(w http.ResponseWriter, status int, encode func([]byte) []byte) {
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	if b, ok := w.(*buffer); ok { // which keeps it anyway
		b.program = true
		b.body = encode(b.body)
		return
	}
	_, _ = w.Write(encode(nil)) // a caller that is gone cannot be told
}

// jsonType is the Content-Type of all answers.
var jsonType = []string{"application/json"}

func marshal(v any) ([]byte, error) {
	return json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
}
