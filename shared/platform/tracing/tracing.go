// Package tracing follows a request through the functions that it passes: from HTTP through the questions
// that it makes and the events that it causes to whoever handles them.
//
// Trace context comes in and goes out in W3C form (Serve, Process, Inject, Traceparent) whether or not anyone
// records spans, so that log lines of one request share a trace id across functions. Spans cost something only
// where a provider has been installed, which takes a binary that was linked with exporters (package
// tracing/otlp) and a configuration that asks for them (Config). This package knows OpenTelemetry's API
// alone; the SDK stays out of binaries that do not record.
//
//	ctx, span := tracing.Start(ctx, "service.authenticate", tracing.Internal)
//	defer span.End()
//
// What a span tells is bounded, and says nothing that a log line may not: attributes that hold text from
// outside are made by Text, errors are told by their kind and never by their message.
package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Span is a span of OpenTelemetry.
type Span = trace.Span

// Attribute is something that a span tells.
type Attribute = attribute.KeyValue

// Kind is what a span's work is to others.
type Kind = trace.SpanKind

// Kinds of spans.
const (
	Internal = trace.SpanKindInternal
	Server   = trace.SpanKindServer
	Client   = trace.SpanKindClient
	Producer = trace.SpanKindProducer
	Consumer = trace.SpanKindConsumer
)

const scope = "github.com/isectech/service-networking/shared/platform/tracing"

// tracer is what spans are made by, nil while nobody records them.
var tracer atomic.Pointer[trace.Tracer]

// Install makes the spans of this process go to a provider, those of Google's clients included, which look for
// it where OpenTelemetry keeps it. It is called once, by a composition root, before requests are served.
func Install(p trace.TracerProvider) {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	otel.SetTracerProvider(p)
	t := p.Tracer(scope)
	tracer.Store(&t)
}

// On reports whether spans are recorded. Where they are not, attributes need not be made.
func On() bool { return tracer.Load() != nil }

// Start starts a span below the one that ctx belongs to, or a span that does nothing.
func Start(ctx context.Context, name string, kind Kind, attrs ...Attribute) (context.Context, Span) {
	t := tracer.Load()
	if t == nil {
		return ctx, noop.Span{}
	}
	return start(ctx, *t, name, kind, nil, attrs)
}

// serviceKey is the context's key of the function that a request or event is handled by.
type serviceKey struct{}

// start starts a span that tells which function it is of: several may share a process.
func start(ctx context.Context, t trace.Tracer, name string, kind Kind, links []trace.Link, attrs []Attribute) (context.Context, Span) {
	if service, ok := ctx.Value(serviceKey{}).(string); ok && service != "" {
		attrs = append(attrs, ServiceName(service))
	}
	return t.Start(ctx, name, trace.WithSpanKind(kind), trace.WithLinks(links...), trace.WithAttributes(attrs...))
}

// Annotate adds attributes to the span that ctx belongs to.
func Annotate(ctx context.Context, attrs ...Attribute) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrs...)
	}
}

// Fail marks a span's work as failed. The kind is one of few: a code, a status, never a message, which may
// hold anything.
func Fail(span Span, kind string) {
	if span.IsRecording() {
		span.SetAttributes(Text("error.type", kind))
		span.SetStatus(codes.Error, "")
	}
}
