package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/platform/tracing"
)

// Publisher publishes events.
type Publisher interface {
	// Publish returns when the event is kept, or has been given up: ErrInvalid means that it can never be
	// published, ErrUnavailable that it may be later. After any error it may have been published all the same.
	Publish(ctx context.Context, topic string, e Event) error
}

// systemPubSub is what spans call Pub/Sub.
const systemPubSub = "gcp_pubsub"

// maxPublishing is how many events are on their way at once; the next waits, for as long as its context.
const maxPublishing = 256

// PubSub publishes to Pub/Sub. It sends each event by itself within the caller's context, so nothing is under
// way when a handler has answered, when there may be no CPU left to send it.
type PubSub struct {
	client *pubsub.Client
	slots  chan struct{}

	closing sync.Once
	closed  error
}

// NewPubSub returns a publisher to a project's topics, with a client of its own.
func NewPubSub(ctx context.Context, project string, opts ...option.ClientOption) (*PubSub, error) {
	client, err := pubsub.NewClient(ctx, project, opts...)
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub: %w", err)
	}
	return &PubSub{client: client, slots: make(chan struct{}, maxPublishing)}, nil
}

// Publish implements Publisher. An event without a trace goes with that of ctx.
func (p *PubSub) Publish(ctx context.Context, topic string, e Event) error {
	ctx, span := tracing.Publish(ctx, tracing.Message{
		System: systemPubSub, Destination: topic, Size: len(e.Data), Event: spanEvent(e),
	})
	defer span.End()
	e.Trace = cmp.Or(e.Trace, tracing.Traceparent(ctx))
	err := p.publish(ctx, topic, e)
	switch {
	case errors.Is(err, ErrInvalid):
		tracing.Fail(span, "invalid")
	case errors.Is(err, ErrUnavailable):
		tracing.Fail(span, "unavailable")
	case err != nil:
		tracing.Fail(span, "failed")
	}
	return err
}

func (p *PubSub) publish(ctx context.Context, topic string, e Event) error {
	m, err := Message(topic, e)
	if err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return publishError(ctx, topic, e, ctx.Err())
	}
	defer func() { <-p.slots }()
	_, err = p.client.TopicAdminClient.Publish(ctx, &pubsubpb.PublishRequest{
		Topic: "projects/" + p.client.Project() + "/topics/" + topic, Messages: []*pubsubpb.PubsubMessage{m},
	})
	return publishError(ctx, topic, e, err)
}

// Close waits for what is on its way, as long as ctx lasts, and closes the client. Afterwards nothing can be
// published; closing again changes nothing.
func (p *PubSub) Close(ctx context.Context) error {
	p.closing.Do(func() {
		p.closed = p.idle(ctx)
		p.closed = errors.Join(p.closed, p.client.Close())
	})
	return p.closed
}

// idle takes all slots, and keeps them: whoever has them all is alone.
func (p *PubSub) idle(ctx context.Context) error {
	for range maxPublishing {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("close Pub/Sub: events were still on their way: %w", ctx.Err())
		}
	}
	return nil
}

func publishError(ctx context.Context, topic string, e Event, err error) error {
	if err == nil {
		return nil
	}
	var kind error
	switch status.Code(err) {
	case codes.InvalidArgument:
		kind = ErrInvalid
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.Canceled:
		kind = ErrUnavailable
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		kind = fmt.Errorf("%w: %w", ErrUnavailable, ctxErr)
	}
	if kind != nil {
		err = fmt.Errorf("%w: %w", kind, err)
	}
	return fmt.Errorf("publish %s to %s: %w", e.ID, topic, err)
}

// Message returns the message that carries an event on a topic: a CloudEvent's attributes as ce-*, the access
// token as isectechauth, or the data alone of an event without Type. It refuses, with ErrInvalid, what Decode
// would.
func Message(topic string, e Event) (*pubsubpb.PubsubMessage, error) {
	err := e.checkRest()
	switch {
	case !slices.Contains(topics, topic):
		err = errors.New("there is no such topic")
	case err != nil:
	case e.Type != "":
		if err = e.check(); err == nil {
			err = checkData(e.ContentType, e.Data)
		}
	case len(e.Data) == 0 && e.Auth == "":
		err = errors.New("an event without type and data")
	}
	if err != nil {
		return nil, fmt.Errorf("publish %.80q to %.80q: %w: %w", e.ID, topic, ErrInvalid, err)
	}
	attrs := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			attrs[name] = value
		}
	}
	if e.Type != "" {
		set(attributePrefix+"specversion", specVersion)
		set(attributePrefix+"id", e.ID)
		set(attributePrefix+"source", e.Source)
		set(attributePrefix+"type", e.Type)
		set(attributePrefix+"subject", e.Subject)
		if !e.Time.IsZero() {
			set(attributePrefix+"time", e.Time.UTC().Format(time.RFC3339Nano))
		}
	}
	set(contentTypeKey, e.ContentType)
	set(extTrace, traceparent(e.Trace))
	set(extAuth, e.Auth)
	return &pubsubpb.PubsubMessage{Data: e.Data, Attributes: attrs, OrderingKey: e.OrderingKey}, nil
}
