// Package httpx is the edge of every HTTP function: what comes in is bounded and checked before a handler
// sees it, and what goes out has one form.
//
//	mux := httpx.NewMux()
//	mux.Handle("GET /internal/things/{id}", func(w http.ResponseWriter, r *http.Request) error {
//		thing, err := things.Get(r.Context(), r.PathValue("id"))
//		if err != nil {
//			return err // the table below knows it, or it is a 500 whose text stays inside
//		}
//		return httpx.WriteJSON(w, http.StatusOK, thing)
//	})
//	handler := httpx.Wrap(mux, httpx.Options{
//		Now: now, Logger: logger,
//		Errors: httpx.Table{{Is: things.ErrAbsent, As: httpx.NotFound("no such thing")}},
//	})
//
// Wrap gives a request its id, its deadline and its log scope, and sends the answer from a buffer, so that
// a handler that fails or panics half way still answers with a whole error. Answers are therefore never
// streamed.
package httpx

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// RequestID returns the id of the request that ctx belongs to, "" outside Wrap.
func RequestID(ctx context.Context) string { return telemetry.RequestOf(ctx).ID }

// Annotate adds attributes to the request's access line and to every line logged after this one.
func Annotate(ctx context.Context, attrs ...slog.Attr) { telemetry.Annotate(ctx, attrs...) }

// SetPrincipal puts the authenticated caller on the request's log lines.
func SetPrincipal(ctx context.Context, p auth.Principal) {
	attrs := [...]slog.Attr{
		slog.String("auth_method", string(p.Method)),
		slog.String("service_name", p.Subject.String()),
		slog.Any("scopes", scopes(p.Scopes)),
		slog.String("service_id", p.ServiceID),
	}
	n := len(attrs)
	if p.ServiceID == "" {
		n--
	}
	telemetry.Annotate(ctx, attrs[:n]...)
}

// scopes are listed when a line is written, which is not for every request.
type scopes auth.Scopes

// LogValue implements slog.LogValuer.
func (s scopes) LogValue() slog.Value { return slog.AnyValue(auth.Scopes(s).Names()) }

// HandlerFunc is a handler that returns what went wrong instead of writing it.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// Handle makes a handler of f: its error is written by WriteError.
func Handle(f HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			WriteError(w, r, err)
		}
	})
}
