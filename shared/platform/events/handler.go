package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/tracing"
	"github.com/isectech/service-networking/shared/store"
)

// DefaultSkew is how far in the future an event may say that it happened.
const DefaultSkew = 5 * time.Minute

// HandlerFunc does what a delivery asks for. Its context ends with the deadline, and with it everything that
// it began.
type HandlerFunc func(ctx context.Context, d Delivery) error

// Options is what Handler needs of its surroundings.
type Options struct {
	Function string           // as it is registered; for logs
	Now      func() time.Time // required
	Logger   *slog.Logger     // nil discards
	Metrics  *telemetry.FunctionMetrics
	Timeout  time.Duration // of one delivery; 0 means httpx.DefaultTimeout
	MaxAge   time.Duration // older deliveries are dropped; 0 drops none
	Skew     time.Duration // 0 means DefaultSkew
	// Unavailable are errors that another attempt may mend, besides store.ErrUnavailable and
	// ErrUnavailable; all that is unknown is tried again as well, but counts as a fault.
	Unavailable []error
}

// Handler returns the HTTP handler of a function of deliveries. It answers 204 to what has been done, to
// what had been done before (store.ErrDuplicate), and to what no other attempt can mend, which it records:
// ErrPoison, ErrStale, ErrUnauthenticated. What is out of reach or took too long is a 503, everything else,
// panics too, a 500 whose text stays inside; those are delivered again.
//
// The request id is the event's id if it has the form of one; the trace is the event's, else the request's.
// The delivery is read and handled within the request: nothing outlives its answer.
func Handler(h HandlerFunc, o Options) http.Handler {
	if o.Now == nil {
		panic("events: Handler needs a clock")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = httpx.DefaultTimeout
	}
	if o.Skew <= 0 {
		o.Skew = DefaultSkew
	}
	r := &receiver{Options: o, handle: h}
	r.wrapped = httpx.Wrap(httpx.Handle(r.serve), httpx.Options{
		Now: o.Now, Logger: o.Logger, Service: o.Function, Timeout: o.Timeout,
	})
	return r
}

type receiver struct {
	Options
	handle  HandlerFunc
	wrapped http.Handler
}

// arrival is a delivery on its way from the request's body to serve.
type arrival struct {
	delivery Delivery
	err      error
}

type arrivalKey struct{}

// ServeHTTP reads the delivery and has it served as a request of its own, whose id and trace are the
// event's.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithTimeout(req.Context(), r.Timeout)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		// Writers that have no deadlines, such as those of tests, are no harm.
		_ = http.NewResponseController(w).SetReadDeadline(deadline)
	}
	a := arrive(req)
	inner := req.Clone(context.WithValue(ctx, arrivalKey{}, a))
	inner.Body, inner.ContentLength = http.NoBody, 0
	inner.Header = http.Header{} // nothing of a delivery's headers may make it one that is refused
	for _, name := range []string{"User-Agent", "X-Cloud-Trace-Context"} {
		if v := req.Header[name]; len(v) == 1 {
			inner.Header[name] = v
		}
	}
	if a.delivery.Event.ID != "" {
		inner.Header["X-Request-Id"] = []string{a.delivery.Event.ID} // replaced if it cannot be one
	}
	if a.delivery.Event.Trace != "" {
		inner.Header["Traceparent"] = []string{a.delivery.Event.Trace}
	}
	r.wrapped.ServeHTTP(w, inner)
}

// arrive reads a delivery.
func arrive(req *http.Request) (a *arrival) {
	a = new(arrival)
	if req.Method != http.MethodPost {
		a.err = httpx.MethodNotAllowed(http.MethodPost)
		return a
	}
	defer func() {
		if p := recover(); p != nil {
			a.err = fmt.Errorf("decode: panic: %v", p) // answered and logged as every fault of ours
		}
	}()
	a.delivery, a.err = Decode(req)
	return a
}

// Results of a delivery, as they are counted.
const (
	resultHandled         = "handled"
	resultDuplicate       = "duplicate"
	resultPoison          = "poison"
	resultStale           = "stale"
	resultUnauthenticated = "unauthenticated"
	resultUnavailable     = "unavailable"
	resultFailed          = "failed"
)

// serve handles a delivery, records what became of it and answers.
func (r *receiver) serve(w http.ResponseWriter, req *http.Request) error {
	ctx := req.Context()
	a, _ := ctx.Value(arrivalKey{}).(*arrival)
	if answer, ok := errors.AsType[*httpx.Error](a.err); ok {
		return answer // no delivery, and not counted as one
	}
	// The request is below the event's trace already.
	ctx, span := tracing.Process(ctx, "", spanMessage(r.Function, a.delivery))
	defer span.End()
	result := resultFailed // what a panic leaves
	start := r.Now()
	defer func() { r.Metrics.ObserveEvent(a.delivery.Event.Type, result, r.Now().Sub(start)) }()
	httpx.Annotate(ctx, slog.String("function", r.Function))
	httpx.Annotate(ctx, identity(a.delivery)...)
	err := a.err
	if err == nil {
		err = r.timely(a.delivery)
	}
	if err == nil {
		a.delivery.Event.RequestID = httpx.RequestID(ctx)
		err = r.handle(ctx, a.delivery)
	}
	var again error
	if result, again = r.judge(ctx, err); again != nil {
		tracing.Fail(span, result)
		return again
	}
	r.record(ctx, result, err)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// spanMessage is what the span of handling a delivery tells of it.
func spanMessage(function string, d Delivery) tracing.Message {
	m := tracing.Message{Destination: function, Size: len(d.Event.Data), Attempt: d.Event.Attempt, Event: spanEvent(d.Event)}
	if d.MessageID != "" {
		m.System = systemPubSub
	}
	if d.MessageID != d.Event.ID {
		m.ID = d.MessageID
	}
	return m
}

func spanEvent(e Event) tracing.CloudEvent {
	return tracing.CloudEvent{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject}
}

// timely refuses what is too old, and what says that it is yet to happen: it would count as newer than
// all that follows it.
func (r *receiver) timely(d Delivery) error {
	now := r.Now()
	if age := d.Age(now); r.MaxAge > 0 && age > r.MaxAge {
		return fmt.Errorf("%w: %s old; the limit is %s", ErrStale, age.Round(time.Second), r.MaxAge)
	}
	if d.Event.Time.After(now.Add(r.Skew)) {
		return Poison("time: in the future")
	}
	return nil
}

// judge returns how an error counts, and the answer that brings the delivery again, if it should come again:
// in doubt it should.
func (r *receiver) judge(ctx context.Context, err error) (result string, again error) {
	switch {
	case err == nil:
		return resultHandled, nil
	case r.unavailable(err):
	case errors.Is(err, ErrPoison):
		return resultPoison, nil
	case errors.Is(err, ErrStale):
		return resultStale, nil
	case errors.Is(err, store.ErrDuplicate):
		return resultDuplicate, nil
	case errors.Is(err, ErrUnauthenticated):
		return resultUnauthenticated, nil
	case ctx.Err() == nil:
		return resultFailed, httpx.Internal(err)
	}
	return resultUnavailable, httpx.Unavailable(time.Second, "the event could not be handled now").Because(err)
}

func (r *receiver) unavailable(err error) bool {
	is := func(known error) bool { return errors.Is(err, known) }
	if is(store.ErrUnavailable) || is(ErrUnavailable) || is(context.DeadlineExceeded) || is(context.Canceled) ||
		slices.ContainsFunc(r.Unavailable, is) {
		return true
	}
	if reason := auth.ReasonOf(err); reason != "" && reason.Status() == http.StatusServiceUnavailable {
		return true
	}
	_, unread := errors.AsType[*readError](err)
	return unread
}

// record logs a delivery that will not come again though nothing was done; the request's scope names it.
func (r *receiver) record(ctx context.Context, result string, err error) {
	if err == nil {
		return
	}
	level := slog.LevelWarn
	switch result {
	case resultPoison:
		level = slog.LevelError
	case resultDuplicate:
		level = slog.LevelInfo
	}
	r.Logger.LogAttrs(ctx, level, "event dropped", slog.String("result", result), slog.String("reason", clip(err.Error())))
}

// identity names a delivery in logs. Whoever sent it chose most of that.
func identity(d Delivery) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("event_id", clip(d.Event.ID)), slog.String("event_source", clip(d.Event.Source)),
		slog.String("event_type", clip(d.Event.Type)),
	}
	if d.Event.Subject != "" {
		attrs = append(attrs, slog.String("event_subject", clip(d.Event.Subject)))
	}
	if d.MessageID != "" && d.MessageID != d.Event.ID {
		attrs = append(attrs, slog.String("message_id", clip(d.MessageID)))
	}
	if d.Event.Attempt > 0 {
		attrs = append(attrs, slog.Int("attempt", d.Event.Attempt))
	}
	return attrs
}

// clip bounds what a sender can put into a log line.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
