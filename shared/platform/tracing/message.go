package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Message is what a span tells of an event. System and Destination become part of the span's name and come
// from code or configuration; the rest may come from anyone.
type Message struct {
	System      string // "gcp_pubsub"; "" where it came by no messaging system that has a name
	Destination string // the topic, or what handles the event
	ID          string // of the message, where it differs from the event's
	Size        int    // of the data, in bytes
	Attempt     int    // which delivery this is; 0 where nobody counts
	Event       CloudEvent
}

// CloudEvent identifies an event; members that are "" are not told.
type CloudEvent struct{ ID, Source, Type, Subject string }

// Process returns the context to handle an event in, and the span of handling it, which the caller ends. Both
// are below the event's own trace (parent, a traceparent), so that one trace leads from the request that
// caused the event to its handler; the delivery that ctx belongs to is linked. Log lines carry the event's
// trace. Without a well-formed parent the event belongs to the delivery's trace.
func Process(ctx context.Context, parent string, m Message) (context.Context, Span) {
	var links []trace.Link
	if sc, ok := Parse(parent); ok {
		links = linkTo(ctx)
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	ctx, span := startMessage(ctx, "process", Consumer, m, links)
	ids := idsOf(trace.SpanContextFromContext(ctx))
	return telemetry.WithTrace(ctx, ids.Trace, ids.Span), span
}

// Publish returns the context to publish an event in, whose Traceparent goes with the event, and the span of
// publishing it, which the caller ends.
func Publish(ctx context.Context, m Message) (context.Context, Span) {
	return startMessage(ctx, "send", Producer, m, nil)
}

func startMessage(ctx context.Context, operation string, kind Kind, m Message, links []trace.Link) (context.Context, Span) {
	t := tracer.Load()
	if t == nil {
		return ctx, noop.Span{}
	}
	name := operation
	if m.Destination != "" {
		name += " " + text(m.Destination)
	}
	return start(ctx, *t, name, kind, links, m.attributes(operation))
}

func (m *Message) attributes(operation string) []Attribute {
	attrs := []Attribute{
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.operation.type", operation),
		attribute.Int("messaging.message.body.size", m.Size),
	}
	for _, a := range [...]struct{ key, value string }{
		{"messaging.system", m.System},
		{"messaging.destination.name", m.Destination},
		{"messaging.message.id", m.ID},
		{"cloudevents.event_id", m.Event.ID},
		{"cloudevents.event_source", m.Event.Source},
		{"cloudevents.event_type", m.Event.Type},
		{"cloudevents.event_subject", m.Event.Subject},
	} {
		if a.value != "" {
			attrs = append(attrs, Text(a.key, a.value))
		}
	}
	if m.Attempt > 0 {
		attrs = append(attrs, attribute.Int("messaging.gcp_pubsub.message.delivery_attempt", m.Attempt))
	}
	return attrs
}
