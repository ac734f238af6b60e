package tracing

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Serve returns the context to serve a request in, made of ctx and below its caller's trace, the span of serving it, which
// Answered ends, and the ids for its log lines: those of the span, or of the caller's where none is recorded.
func Serve(ctx context.Context, r *http.Request, service string) (context.Context, Span, IDs) {
	ctx, ids := FromHeaders(ctx, r.Header)
	if !On() {
		return ctx, noop.Span{}, ids
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	method := methodOf(r.Method)
	ctx, span := Start(context.WithValue(ctx, serviceKey{}, service), spanName(method), Server,
		attribute.String("http.request.method", method),
		attribute.String("url.scheme", scheme),
		Text("url.path", r.URL.EscapedPath()), // never the query, which may carry what a form would
		Text("user_agent.original", r.UserAgent()),
	)
	return ctx, span, idsOf(span.SpanContext())
}

// Answered ends the span of a request that has its answer. It comes before the answer is sent: where a
// processor's time ends with the answer, spans that are exported later may never be.
func Answered(span Span, r *http.Request, status, size int) {
	if span.IsRecording() {
		// The route is known only now, and a span's name must not be as many as there are paths.
		if _, route, ok := strings.Cut(r.Pattern, " "); ok {
			span.SetName(spanName(methodOf(r.Method)) + " " + route)
			span.SetAttributes(attribute.String("http.route", route))
		}
		span.SetAttributes(
			attribute.Int("http.response.status_code", status),
			attribute.Int("http.response.body.size", size),
		)
		if status >= http.StatusInternalServerError {
			Fail(span, strconv.Itoa(status))
		}
	}
	span.End()
}

// Do sends a request with the trace that its context belongs to, in a span of its own. The caller's request
// is changed only by the headers of the trace.
func Do(c *http.Client, req *http.Request) (*http.Response, error) {
	if !On() {
		Inject(req.Context(), req.Header)
		return c.Do(req) //nolint:gosec // where to is the caller's to decide
	}
	method := methodOf(req.Method)
	ctx, span := Start(req.Context(), spanName(method), Client,
		attribute.String("http.request.method", method),
		Text("server.address", req.URL.Hostname()),
		Text("url.full", req.URL.Scheme+"://"+req.URL.Host+req.URL.EscapedPath()),
	)
	defer span.End()
	Inject(ctx, req.Header)
	res, err := c.Do(req.WithContext(ctx)) //nolint:gosec // where to is the caller's to decide
	if err != nil {
		Fail(span, "unreachable")
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", res.StatusCode))
	if res.StatusCode >= http.StatusBadRequest {
		Fail(span, strconv.Itoa(res.StatusCode))
	}
	return res, nil
}

// otherMethod stands for the methods that nobody knows, of which there is no end.
const otherMethod = "_OTHER"

func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	case "":
		return http.MethodGet // of a client's request
	}
	return otherMethod
}

// spanName is the part of a span's name that the method makes.
func spanName(method string) string {
	if method == otherMethod {
		return "HTTP"
	}
	return method
}

// linkTo returns a link to the span that ctx belongs to, if there is one.
func linkTo(ctx context.Context) []trace.Link {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return nil
	}
	return []trace.Link{{SpanContext: sc}}
}
