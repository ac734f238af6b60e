package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
	"github.com/isectech/service-networking/cmd/isectl/internal/broker/docevents"
	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// project is the project that topics and documents belong to on this machine.
const project = "local"

// messaging is the local Pub/Sub: a broker of this process, or an emulator.
type messaging struct {
	broker    *broker.Broker // nil with an emulator
	functions *functions
	client    *pubsub.Client
	publisher *events.PubSub
	listener  net.Listener // of the broker, for other processes
	address   string       // host:port of Pub/Sub
	pushTo    func(function string) string
}

// openMessaging opens the broker, or connects to the emulator that the environment names.
func (o Options) openMessaging(ctx context.Context, base config.Base, server string) (m *messaging, err error) {
	m = &messaging{functions: &functions{others: broker.LoopbackTransport()}, pushTo: endpointOf}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close(ctx))
		}
	}()
	options := func() ([]option.ClientOption, error) { return nil, nil } // the client finds the emulator by itself
	if base.PubSubEmulator != "" {
		m.address = string(base.PubSubEmulator)
		m.pushTo = func(function string) string { return server + "/" + function }
	} else {
		if m.broker, err = broker.Open(o.Dir.messages(), broker.Options{ //nolint:contextcheck // it pushes until it is closed
			Now: o.Now, Transport: m.functions, Endpoint: ownOrLoopback,
		}); err != nil {
			return m, err
		}
		if m.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return m, err
		}
		m.address = m.listener.Addr().String()
		options = m.broker.ClientOptions
	}
	admin, err := options()
	if err != nil {
		return m, err
	}
	if m.client, err = pubsub.NewClient(ctx, project, admin...); err != nil {
		return m, fmt.Errorf("open Pub/Sub: %w", err)
	}
	publishing, err := options()
	if err != nil {
		return m, err
	}
	m.publisher, err = events.NewPubSub(ctx, project, publishing...)
	return m, err
}

// ownOrLoopback lets messages be pushed to functions of this process and to this machine.
func ownOrLoopback(u *url.URL) error {
	if u.Host == functionsHost {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("only this machine may be pushed to")
	}
	return nil
}

func (m *messaging) close(ctx context.Context) error {
	var errs []error
	if m.publisher != nil {
		errs = append(errs, m.publisher.Close(ctx))
	}
	if m.client != nil {
		errs = append(errs, m.client.Close())
	}
	if m.broker != nil {
		errs = append(errs, m.broker.Close())
	}
	if m.listener != nil {
		if err := m.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// serve lets other processes reach the broker until ctx ends.
func (m *messaging) serve(ctx context.Context) error {
	if m.broker == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = m.listener.Close() })
	defer stop()
	if err := m.broker.Serve(m.listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve Pub/Sub: %w", err)
	}
	return nil
}

// tellChanges sends the changes of records in the embedded store to RegistryChanged, as Firestore's events,
// until ctx ends. Without that store an emulator's owner has to see to it.
func (m *messaging) tellChanges(ctx context.Context, db *boltstore.DB, now Clock, logger *slog.Logger) error {
	if db == nil {
		return nil
	}
	err := docevents.Run(ctx, docevents.Options{
		Log: db, Now: now, Project: project, Client: &http.Client{Transport: m.functions, CheckRedirect: noRedirects}, Logger: logger,
		Triggers: []docevents.Trigger{{Collection: store.Services, Endpoint: endpointOf(register.ChangedName)}},
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("document events: %w", err)
	}
	return nil
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// How long a command that could not be handled waits before it is pushed again.
const (
	minBackoff = time.Second
	maxBackoff = time.Minute
)

// maxDeliveries is after how many attempts a command is put aside.
const maxDeliveries = 10

// declareTimeout bounds all that declare does: an emulator that is not there would be waited for.
const declareTimeout = 20 * time.Second

// declare makes the topics, each with its dead-letter topic, and the subscriptions of the functions.
func (m *messaging) declare(ctx context.Context) error {
	topics := events.Topics()
	for _, name := range topics {
		topics = append(topics, name+events.DeadLetter)
	}
	ctx, cancel := context.WithTimeout(ctx, declareTimeout)
	defer cancel()
	for _, name := range topics {
		_, err := m.client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topicName(name)})
		if err != nil && status.Code(err) != codes.AlreadyExists {
			return fmt.Errorf("topic %s: %w", name, err)
		}
		if !slices.Contains(events.Topics(), name) { // what nobody subscribes to is lost
			if err := m.subscribe(ctx, &pubsubpb.Subscription{Name: subscriptionName(name), Topic: topicName(name)}); err != nil {
				return err
			}
		}
	}
	return m.subscribe(ctx, &pubsubpb.Subscription{
		Name:        subscriptionName(events.TopicRegistryCommands + "-register"),
		Topic:       topicName(events.TopicRegistryCommands),
		PushConfig:  &pubsubpb.PushConfig{PushEndpoint: m.pushTo(register.CommandName)},
		RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(minBackoff), MaximumBackoff: durationpb.New(maxBackoff)},
		DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{
			DeadLetterTopic: topicName(events.TopicRegistryCommands + events.DeadLetter), MaxDeliveryAttempts: maxDeliveries,
		},
	})
}

// subscribe makes a subscription, or has the one there is push to where this process is.
func (m *messaging) subscribe(ctx context.Context, s *pubsubpb.Subscription) error {
	admin := m.client.SubscriptionAdminClient
	_, err := admin.CreateSubscription(ctx, s)
	if status.Code(err) == codes.AlreadyExists && s.PushConfig != nil {
		_, err = admin.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"push_config"}},
		})
	}
	if err != nil && status.Code(err) != codes.AlreadyExists {
		return fmt.Errorf("subscription %s: %w", s.Name, err)
	}
	return nil
}

func topicName(id string) string        { return "projects/" + project + "/topics/" + id }
func subscriptionName(id string) string { return "projects/" + project + "/subscriptions/" + id }
