// Package telemetry is how a process tells what it does: log lines in Cloud Logging's form (NewLogger) and
// metrics under the platform's fixed names (Metrics).
//
// A request's scope travels in its context: what is put there once (WithRequest, Annotate) stands on every
// line that is logged with that context, so handlers need not carry request ids and callers around.
package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// Request identifies a request to logs and traces.
type Request struct {
	ID    string // the request id
	Trace string // the W3C trace id, 32 hex digits; "" when the caller sent none
	Span  string // the caller's span id, 16 hex digits
}

type scopeKey struct{}

// scope is what is known of the request that a context belongs to, and is that context: every request has one,
// and one allocation is enough. Contexts derived from it share it, since the outermost handler logs what the
// innermost one found out.
type scope struct {
	context.Context
	request Request
	*notes
	own notes // what notes points to, unless they are another scope's
}

// Value implements context.Context.
func (s *scope) Value(key any) any {
	if key == (scopeKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// notes are what Annotate has added to a request.
type notes struct {
	mu    sync.Mutex
	attrs []slog.Attr
	quiet bool
	room  [4]slog.Attr // for the attributes of a caller, which most requests have
}

// WithRequest returns a context whose log lines carry the request's ids and whatever Annotate adds.
func WithRequest(ctx context.Context, r Request) context.Context {
	s := &scope{Context: ctx, request: r}
	s.notes = &s.own
	s.attrs = s.own.room[:0]
	return s
}

// WithTrace returns a context whose log lines are those of the same request in another trace: an event is
// delivered in one and was caused in another. Without ids it returns ctx.
func WithTrace(ctx context.Context, trace, span string) context.Context {
	s := scopeOf(ctx)
	if trace == "" || s == nil {
		return ctx
	}
	other := &scope{Context: ctx, request: s.request, notes: s.notes}
	other.request.Trace, other.request.Span = trace, span
	return other
}

// RequestOf returns the request that a context belongs to; the zero Request when it belongs to none.
func RequestOf(ctx context.Context) Request {
	if s := scopeOf(ctx); s != nil {
		return s.request
	}
	return Request{}
}

// Annotate adds attributes to every later line of the request that ctx belongs to, its access line
// included. An attribute replaces an earlier one with the same key. Without a request it does nothing.
func Annotate(ctx context.Context, attrs ...slog.Attr) {
	s := scopeOf(ctx)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range attrs {
		s.attrs = setAttr(s.attrs, a)
	}
}

// Quiet says that the request that ctx belongs to needs no line that says merely that it was served: one of many
// alike, of which a share is logged.
func Quiet(ctx context.Context) {
	if s := scopeOf(ctx); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.quiet = true
	}
}

// IsQuiet reports whether Quiet was called.
func IsQuiet(ctx context.Context) bool {
	s := scopeOf(ctx)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quiet
}

// scopeOf returns the scope of ctx, or nil.
func scopeOf(ctx context.Context) *scope {
	if ctx == nil {
		return nil
	}
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

// annotations returns a copy of the attributes.
func (n *notes) annotations() []slog.Attr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.attrs)
}

// setAttr puts a into attrs, in the place of one with the same key if there is one: a JSON object with a
// name twice means something else to every reader.
func setAttr(attrs []slog.Attr, a slog.Attr) []slog.Attr {
	if i := slices.IndexFunc(attrs, func(b slog.Attr) bool { return a.Key == b.Key }); i >= 0 {
		attrs[i] = a
		return attrs
	}
	return append(attrs, a)
}
