package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/tracing"
)

// Defaults and bounds of Wrap.
const (
	DefaultTimeout = 60 * time.Second
	DefaultMaxBody = 1 << 20
	maxURL         = 8 << 10
	maxHeaderBytes = 32 << 10
	maxHeaderLines = 100
	readGrace      = 100 * time.Millisecond
)

// Recorder counts requests. It must bound the methods it is given; the statuses are our own.
type Recorder interface {
	ObserveRequest(method string, status int, took time.Duration)
}

// Options is what Wrap needs of its surroundings.
type Options struct {
	Now     func() time.Time // required
	Logger  *slog.Logger     // nil discards
	Service string           // the function's name in spans
	Errors  Table            // the answers to the domain's errors
	Metrics Recorder         // nil counts nothing
	Timeout time.Duration    // of one request; 0 means DefaultTimeout
	MaxBody int64            // in bytes; 0 means DefaultMaxBody
}

// runtime is what WriteError needs of Options; the request's context knows it.
type runtime struct {
	now    func() time.Time
	logger *slog.Logger
	errors Table
}

type runtimeKey struct{}

func runtimeOf(ctx context.Context) *runtime {
	if rt, ok := ctx.Value(runtimeKey{}).(*runtime); ok {
		return rt
	}
	return &runtime{logger: slog.New(slog.DiscardHandler)}
}

// Wrap makes h fit to face the world: it gives every request an id (which the answer echoes), a deadline
// and a log scope, bounds its size, refuses what is malformed before h sees it, turns a panic into a 500,
// sets the security headers, sends the answer from a buffer, and logs and counts the request.
func Wrap(h http.Handler, o Options) http.Handler {
	if o.Now == nil {
		panic("httpx: Wrap needs a clock")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	return &edge{next: h, Options: o, runtime: &runtime{now: o.Now, logger: o.Logger, errors: o.Errors}}
}

// edge is a wrapped handler.
type edge struct {
	next http.Handler
	Options
	runtime *runtime
}

// ServeHTTP serves one request.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := e.Now()
	c := &request{runtime: e.runtime, timeout: e.Timeout}
	defer c.end()
	c.id[0] = requestID(r.Header)
	ctx, span, ids := tracing.Serve(r.Context(), r, e.Service)
	c.Context = telemetry.WithRequest(ctx, telemetry.Request{ID: c.id[0], Trace: ids.Trace, Span: ids.Span})

	r = r.WithContext(c)               //nolint:contextcheck // c is r's own context, and what hangs below it
	r.Header["X-Request-Id"] = c.id[:] // in the form that handlers and those they call can trust
	body := r.Body
	if body != nil && body != http.NoBody {
		// A body that comes in drop by drop ends with the request, a moment after its context so that it is
		// the context that says why. Writers that have no deadlines, such as those of tests, are no harm.
		if deadline, ok := c.Deadline(); ok {
			_ = http.NewResponseController(w).SetReadDeadline(deadline.Add(readGrace))
		}
		r.Body = slowBody{http.MaxBytesReader(w, body, e.MaxBody)}
	}
	room, _ := bodies.Get().(*[]byte)
	out := &buffer{to: w, body: (*room)[:0]}
	out.begin(r, c.id[:])
	defer func() { //nolint:contextcheck // the same
		took := e.Now().Sub(start)
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				span.End()
				panic(p)
			}
			e.Logger.LogAttrs(c, slog.LevelError, "panic",
				slog.String("panic", fmt.Sprint(p)), slog.String("stack_trace", string(debug.Stack())))
			clear(w.Header())
			out = &buffer{to: w} // whoever holds the other may still write to it
			out.begin(r, c.id[:])
			WriteError(out, r, Internal(nil))
			room = nil
		}
		if out.status == http.StatusRequestEntityTooLarge {
			drain(r, body, e.MaxBody)
		}
		out.WriteHeader(http.StatusOK) // unless there is a status
		tracing.Answered(span, r, out.status, len(out.body))
		n := out.send()
		e.record(c, r, out.status, n, took)
		if room != nil && cap(out.body) <= maxKept {
			*room = out.body
			bodies.Put(room)
		}
	}()
	if err := checkRequest(r, e.MaxBody); err != nil {
		WriteError(out, r, err)
		return
	}
	e.next.ServeHTTP(out, r)
}

// slowBody is a request's body that tells its own lateness from that of everything else: it is the
// caller's fault and none of ours.
type slowBody struct{ io.ReadCloser }

// Read reads from the body.
func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &Error{Status: http.StatusRequestTimeout, Code: "request_timeout", Message: "the body came in too slowly", Err: err}
	}
	return n, err
}

// record logs and counts a request that has been answered; one of many alike may go without its line. The query stays out of the log: it may carry
// what a form would.
func (e *edge) record(ctx context.Context, r *http.Request, status, size int, took time.Duration) {
	if e.Metrics != nil {
		e.Metrics.ObserveRequest(r.Method, status, took)
	}
	level := slog.LevelInfo
	if status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	if level == slog.LevelInfo && telemetry.IsQuiet(ctx) {
		return
	}
	e.Logger.LogAttrs(ctx, level, "request",
		slog.String("method", clip(r.Method, 16)),
		slog.String("path", clip(r.URL.EscapedPath(), 256)),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int("response_bytes", size),
		slog.String("user_agent", clip(r.UserAgent(), 128)),
	)
}

// drain reads on for a while after a body has turned out too large, so that a caller which writes all of
// its request before it reads the answer gets the answer and not a broken connection. A caller that waits
// for 100 Continue is not asked for the body.
func drain(r *http.Request, body io.Reader, limit int64) {
	if body == nil || r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, body, 4*limit) // how it ends does not matter
}

// clip bounds what a caller can put into a log line.
func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
