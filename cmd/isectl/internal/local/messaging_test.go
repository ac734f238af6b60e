package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/events"
)

// pubSub connects to a platform's Pub/Sub as any other process does.
func (p *platform) pubSub(t *testing.T) *pubsub.Client {
	t.Helper()
	conn, err := grpc.NewClient(p.PubSub, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := pubsub.NewClient(t.Context(), "local", option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

const (
	topics        = "projects/local/topics/"
	subscriptions = "projects/local/subscriptions/"
)

// changes receives what is told of the registry until each wanted id has come, and returns how often each came,
// with what it told.
func changes(t *testing.T, c *pubsub.Client, want ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(map[string]string)
	var mu sync.Mutex
	err := c.Subscriber(subscriptions+"test").Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		mu.Lock()
		defer mu.Unlock()
		got[m.Attributes["ce-id"]] = m.Attributes["ce-type"] + " " + m.OrderingKey
		for _, id := range want {
			if got[id] == "" {
				return
			}
		}
		cancel()
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func register(t *testing.T, p *platform, bearer http.Header, id string) {
	t.Helper()
	status, answer := p.request(t, http.MethodPost, "/internal/registry/register", fmt.Sprintf(
		`{"service_id":%q,"service_name":"backend","version":"1.0.0","environment":"production",
		"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443}]}`, id), bearer)
	if status != http.StatusCreated {
		t.Fatalf("%d %v", status, answer)
	}
}

// What is told of the registry's changes reaches other processes, those too that are committed or published
// right before the platform is killed; and its topics and subscriptions are there again after it.
func TestChangesAreToldAcrossARestart(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first, process := spawn(t, dir)
	c := first.pubSub(t)
	if _, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: subscriptions + "test", Topic: topics + events.TopicRegistryChanges, EnableMessageOrdering: true,
	}); err != nil {
		t.Fatal(err)
	}
	bearer := first.bearer(t, backend)
	register(t, first, bearer, "backend-services-1")
	created := events.TypeServiceCreated
	if diff := cmp.Diff(map[string]string{"backend-services-1@1": created + " backend-services-1"}, changes(t, c, "backend-services-1@1")); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	want := make(map[string]string)
	for i := 2; i < 12; i++ {
		id := fmt.Sprint("backend-services-", i)
		register(t, first, bearer, id)
		want[id+"@1"] = created + " " + id
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()

	second, _ := spawn(t, dir)
	wanted := make([]string, 0, len(want))
	for id := range want {
		wanted = append(wanted, id)
	}
	got := changes(t, second.pubSub(t), wanted...)
	delete(got, "backend-services-1@1") // may be told again
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told after the restart (-want +got):\n%s", diff)
	}
}

// A subscription that another process made, or this one on another port, is taken over as it is.
func TestCommandsAfterARestart(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for run := range 2 {
		p, process := spawn(t, dir)
		c := p.pubSub(t)
		sub, err := c.SubscriptionAdminClient.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{
			Subscription: subscriptions + events.TopicRegistryCommands + "-register",
		})
		if err != nil || sub.GetPushConfig().GetPushEndpoint() == "" || sub.GetDeadLetterPolicy().GetDeadLetterTopic() != topics+events.TopicRegistryCommands+events.DeadLetter {
			t.Fatalf("%v %v", sub, err)
		}
		id := fmt.Sprint("backend-services-", run)
		p.command(t, c, events.TypeRegister, id)
		if status := p.eventually(t, "/internal/registry/services/"+id); status != http.StatusOK {
			t.Errorf("run %d: what a command registered: %d", run, status)
		}
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
	}
}

// command sends a command to register an instance.
func (p *platform) command(t *testing.T, c *pubsub.Client, kind, id string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"service_id": id, "service_name": backend, "version": "1.0.0", "environment": "production",
		"endpoints": []map[string]any{{"name": "api", "url": "https://api.isectech.com", "protocol": "https", "port": 443}},
	})
	if err != nil {
		t.Fatal(err)
	}
	publisher := c.Publisher(topics + events.TopicRegistryCommands)
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: body, Attributes: map[string]string{
		"ce-specversion": "1.0", "ce-id": id, "ce-source": "//isectech.com/services/" + id, "ce-type": kind,
		"ce-time": time.Now().UTC().Format(time.RFC3339Nano), "content-type": "application/json",
		"isectechauth": p.bearer(t, backend).Get("Authorization")[len("Bearer "):],
	}}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// eventually watches the registry until a path is there.
func (p *platform) eventually(t *testing.T, path string) (status int) {
	t.Helper()
	bearer := p.bearer(t, backend)
	index := 0.0
	for range 10 {
		if status, _ = p.request(t, http.MethodGet, path, "", bearer); status == http.StatusOK {
			return status
		}
		_, answer := p.request(t, http.MethodGet, fmt.Sprintf("/internal/registry/watch?index=%.0f&wait=5s", index), "", bearer)
		index, _ = answer["index"].(float64)
	}
	return status
}
