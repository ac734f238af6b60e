package events_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/security"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/tracing"
)

// topics is a server of the Publisher API that keeps what it is given, as publish says.
type topics struct {
	pubsubpb.UnimplementedPublisherServer
	publish func(ctx context.Context) error

	mu   sync.Mutex
	kept []*pubsubpb.PublishRequest
}

// Publish implements pubsubpb.PublisherServer.
func (s *topics) Publish(ctx context.Context, r *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	if s.publish != nil {
		if err := s.publish(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, r)
	return &pubsubpb.PublishResponse{MessageIds: []string{"1"}}, nil
}

func publisher(t *testing.T, server *topics) *events.PubSub {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	pubsubpb.RegisterPublisherServer(g, server)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	p, err := events.NewPubSub(t.Context(), "isectech-test", option.WithEndpoint("passthrough:///bufconn"), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

func TestPublish(t *testing.T) {
	t.Parallel()
	server := new(topics)
	p := publisher(t, server)
	if err := p.Publish(t.Context(), events.TopicRegistryCommands, command()); err != nil {
		t.Fatal(err)
	}
	if len(server.kept) != 1 || server.kept[0].Topic != "projects/isectech-test/topics/isectech-registry-commands" {
		t.Fatalf("%v", server.kept)
	}
	m := server.kept[0].Messages[0]
	want := map[string]string{
		"ce-specversion": "1.0", "ce-id": "7f0c", "ce-source": "//isectech.com/services/backend-services-001",
		"ce-type": "com.isectech.registry.heartbeat.v1", "ce-subject": "backend-services-001", "ce-time": "2026-01-04T11:59:59.5Z",
		"content-type": "application/json", "traceparent": parent, "isectechauth": "a.b.c",
	}
	if diff := cmp.Diff(want, m.Attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if string(m.Data) != `{"service_id":"backend-services-001"}` || m.OrderingKey != "backend-services-001" {
		t.Errorf("%v", m)
	}
}

// An event without a trace goes with that of the request.
func TestPublishTrace(t *testing.T) {
	t.Parallel()
	server := new(topics)
	p := publisher(t, server)
	ctx, _ := tracing.FromHeaders(t.Context(), http.Header{"Traceparent": {outer}})
	for _, own := range []string{"", parent} {
		e := command()
		e.Trace = own
		if err := p.Publish(ctx, events.TopicRegistryCommands, e); err != nil {
			t.Fatal(err)
		}
	}
	if got := []string{server.kept[0].Messages[0].Attributes["traceparent"], server.kept[1].Messages[0].Attributes["traceparent"]}; got[0] != outer || got[1] != parent {
		t.Errorf("%v", got)
	}
}

func TestPublishFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		code codes.Code
		want error
	}{
		"no such topic":  {codes.NotFound, nil},
		"not permitted":  {codes.PermissionDenied, nil},
		"refused":        {codes.InvalidArgument, events.ErrInvalid},
		"failed at once": {codes.FailedPrecondition, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := publisher(t, &topics{publish: func(context.Context) error { return status.Error(tt.code, "no") }})
			err := p.Publish(t.Context(), events.TopicRegistryChanges, command())
			if err == nil || errors.Is(err, events.ErrUnavailable) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Error(err)
			}
		})
	}
}

// The client tries what is unavailable again, for as long as the context lasts.
func TestPublishWithinContext(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]func(context.Context) error{
		"unavailable": func(context.Context) error { return status.Error(codes.Unavailable, "no") },
		"silent": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := publisher(t, &topics{publish: publish}).Publish(ctx, events.TopicRegistryChanges, command())
		cancel()
		if !errors.Is(err, events.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No more than so many are under way, and Close waits for those.
func TestPublishIsBounded(t *testing.T) {
	t.Parallel()
	const most = 256
	begun, free := make(chan struct{}, 2*most), make(chan struct{})
	p := publisher(t, &topics{publish: func(ctx context.Context) error {
		begun <- struct{}{}
		select {
		case <-free:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	var group sync.WaitGroup
	for range most {
		group.Go(func() {
			if err := p.Publish(t.Context(), events.TopicRegistryChanges, command()); err != nil {
				t.Error(err)
			}
		})
	}
	for range most {
		<-begun
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Publish(ctx, events.TopicRegistryChanges, command()); !errors.Is(err, events.ErrUnavailable) || len(begun) > 0 {
		t.Errorf("one too many: %v, %d more begun", err, len(begun))
	}
	closed := make(chan error, 1)
	go func() { closed <- p.Close(t.Context()) }()
	select {
	case err := <-closed:
		t.Errorf("closed before what was under way: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(free)
	group.Wait()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.Publish(late, events.TopicRegistryChanges, command()); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("published after the end: %v", err)
	}
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	p := publisher(t, &topics{publish: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Publish(ctx, events.TopicRegistryChanges, command()) }()
	<-begun
	short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := p.Close(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("published")
	}
}

// Nothing is published that would be poison to whoever gets it.
func TestMessageRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*events.Event){
		"no id":              func(e *events.Event) { e.ID = "" },
		"id of two lines":    func(e *events.Event) { e.ID = "a\nb" },
		"no source":          func(e *events.Event) { e.Source = "" },
		"source no URI":      func(e *events.Event) { e.Source = "%zz" },
		"subject of control": func(e *events.Event) { e.Subject = "\x00" },
		"too much data":      func(e *events.Event) { e.Data = make([]byte, events.MaxData+1) },
		"no JSON":            func(e *events.Event) { e.Data = []byte("{") },
		"a name twice":       func(e *events.Event) { e.Data = []byte(`{"a":1,"a":2}`) },
		"long token":         func(e *events.Event) { e.Auth = strings.Repeat("x", 1025) },
		"time before 1970":   func(e *events.Event) { e.Time = time.Unix(-1, 0) },
		"ordering key":       func(e *events.Event) { e.OrderingKey = strings.Repeat("x", 1025) },
		"nothing":            func(e *events.Event) { *e = events.Event{} },
	} {
		e := command()
		change(&e)
		if m, err := events.Message(events.TopicRegistryCommands, e); !errors.Is(err, events.ErrInvalid) || m != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := events.Message("isectech-no-such-topic", command()); !errors.Is(err, events.ErrInvalid) {
		t.Error(err)
	}
	if m, err := events.Message(events.TopicHealthTicks, events.Event{Data: []byte("tick")}); err != nil || len(m.Attributes) != 0 {
		t.Errorf("a plain message: %v, %v", m, err)
	}
}

func TestEmitter(t *testing.T) {
	t.Parallel()
	recorder := new(eventstest.Recorder)
	m := events.Emitter{Function: "RegistryChanged", Publisher: recorder, Now: func() time.Time { return noon }}
	ctx := telemetry.WithRequest(t.Context(), telemetry.Request{ID: "r1"})
	instance := map[string]string{"service_id": "backend-services-001"}
	if err := m.RegistryChange(ctx, events.TypeServiceUpdated, "backend-services-001", 7, noon.Add(-time.Second), instance); err != nil {
		t.Fatal(err)
	}
	if err := m.Security(ctx, "", security.Incident{Kind: security.Quarantined, Severity: security.Critical, ServiceName: "isectech-frontend"}); err != nil {
		t.Fatal(err)
	}
	all := recorder.All()
	if len(all) != 2 || all[1].Event.ID == "" {
		t.Fatalf("%+v", all)
	}
	all[1].Event.ID = "random"
	want := []eventstest.Published{
		{Topic: events.TopicRegistryChanges, Event: events.Event{
			ID: "backend-services-001@7", Source: "//isectech.com/functions/RegistryChanged", Type: "com.isectech.registry.service.updated.v1",
			Subject: "backend-services-001", Time: noon.Add(-time.Second), Data: []byte(`{"service_id":"backend-services-001"}`),
			ContentType: "application/json", OrderingKey: "backend-services-001",
		}},
		{Topic: events.TopicSecurityEvents, Event: events.Event{
			ID: "random", Source: "//isectech.com/functions/RegistryChanged", Type: "com.isectech.security.quarantined.v1",
			Subject: "isectech-frontend", Time: noon, ContentType: "application/json",
			Data: []byte(`{"kind":"quarantined","severity":"critical","service_name":"isectech-frontend","request_id":"r1","occurred_at":"2026-01-04T12:00:00Z"}`),
		}},
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	broken := errors.New("broken")
	recorder.Fail(1, broken)
	if err := m.Emit(ctx, events.TopicHealthTicks, events.Event{Data: []byte("x")}); !errors.Is(err, broken) {
		t.Error(err)
	}
	if err := m.RegistryChange(ctx, events.TypeServiceUpdated, "x", 1, noon, func() {}); !errors.Is(err, events.ErrInvalid) {
		t.Error(err)
	}
}
