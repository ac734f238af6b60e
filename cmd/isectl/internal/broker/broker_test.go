package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
)

const project = "test-project"

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		os.Exit(publishForEver(path))
	}
	status := m.Run()
	emulator.stop()
	if status == 0 {
		if err := goleak.Find(
			// The client's own: its statistics never end, its streams' tickers are asked every ten seconds.
			goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
			goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
		); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

func topicName(id string) string { return "projects/" + project + "/topics/" + id }
func subName(id string) string   { return "projects/" + project + "/subscriptions/" + id }

// open opens a broker that ends with the test.
func open(t testing.TB, path string, opts broker.Options) *broker.Broker {
	t.Helper()
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b, err := broker.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

// clientOf returns the real client of a broker.
func clientOf(t testing.TB, b *broker.Broker) *pubsub.Client {
	t.Helper()
	opts, err := b.ClientOptions()
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, opts...)
}

func newClient(t testing.TB, opts ...option.ClientOption) *pubsub.Client {
	t.Helper()
	c, err := pubsub.NewClient(context.WithoutCancel(t.Context()), project, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it closes the one connection once for each of its clients
	return c
}

// dial returns the real client of whatever listens at an address, as PUBSUB_EMULATOR_HOST makes it.
func dial(t testing.TB, addr string) *pubsub.Client {
	t.Helper()
	return newClient(t, option.WithEndpoint(addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
}

// serve lets other processes reach a broker.
func serve(t testing.TB, b *broker.Broker) (addr string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(l) }()
	t.Cleanup(func() {
		_ = b.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func createTopic(t testing.TB, c *pubsub.Client, id string) string {
	t.Helper()
	topic, err := c.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topicName(id)})
	if err != nil {
		t.Fatal(err)
	}
	return topic.GetName()
}

func createSub(t testing.TB, c *pubsub.Client, s *pubsubpb.Subscription) string {
	t.Helper()
	made, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return made.GetName()
}

func publish(t testing.TB, c *pubsub.Client, topic string, messages ...*pubsubpb.PubsubMessage) []string {
	t.Helper()
	resp, err := c.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetMessageIds()
}

func text(s string) *pubsubpb.PubsubMessage { return &pubsubpb.PubsubMessage{Data: []byte(s)} }

// pull takes messages until there are so many.
func pull(t testing.TB, c *pubsub.Client, sub string, n int) []*pubsubpb.ReceivedMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []*pubsubpb.ReceivedMessage
	for len(got) < n {
		resp, err := c.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: sub, MaxMessages: int32(n - len(got))})
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(got), n, err)
		}
		got = append(got, resp.GetReceivedMessages()...)
	}
	return got
}

// empty wants a subscription to have nothing to give now.
func empty(t testing.TB, c *pubsub.Client, sub string) {
	t.Helper()
	resp, err := c.SubscriptionAdminClient.Pull(t.Context(), &pubsubpb.PullRequest{
		Subscription: sub, MaxMessages: 10, ReturnImmediately: true}) //nolint:staticcheck // deprecated, and just what is wanted
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetReceivedMessages(); len(got) > 0 {
		t.Errorf("%s still has %v", sub, dataOf(got))
	}
}

func ack(t testing.TB, c *pubsub.Client, sub string, messages ...*pubsubpb.ReceivedMessage) {
	t.Helper()
	req := &pubsubpb.AcknowledgeRequest{Subscription: sub}
	for _, m := range messages {
		req.AckIds = append(req.AckIds, m.GetAckId())
	}
	if err := c.SubscriptionAdminClient.Acknowledge(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func nack(t testing.TB, c *pubsub.Client, sub string, messages ...*pubsubpb.ReceivedMessage) {
	t.Helper()
	req := &pubsubpb.ModifyAckDeadlineRequest{Subscription: sub}
	for _, m := range messages {
		req.AckIds = append(req.AckIds, m.GetAckId())
	}
	if err := c.SubscriptionAdminClient.ModifyAckDeadline(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func dataOf(messages []*pubsubpb.ReceivedMessage) []string {
	var out []string
	for _, m := range messages {
		out = append(out, string(m.GetMessage().GetData()))
	}
	return out
}

// receive lets the real client receive until it has so many messages, and returns their data.
func receive(t testing.TB, c *pubsub.Client, sub string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	var got []string
	err := c.Subscriber(sub).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(m.Data))
		m.Ack()
		if len(got) >= n {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < n {
		t.Fatalf("received %d of %d messages", len(got), n)
	}
	return got
}

// handlerFunc answers pushes in the test's own process.
type handlerFunc func(w http.ResponseWriter, r *http.Request)

// RoundTrip answers a request without a connection.
func (h handlerFunc) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	h(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func wantEqual[T any](t testing.TB, what string, want, got T, opts ...cmp.Option) {
	t.Helper()
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

func TestServeOnlyLoopback(t *testing.T) {
	t.Parallel()
	b := open(t, "", broker.Options{})
	if err := b.Serve(elsewhere{}); err == nil {
		t.Error("an address that others can reach is served")
	}
}

// elsewhere is a listener on all addresses.
type elsewhere struct{ net.Listener }

// Addr is one that others can reach.
func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 8085} }

func TestOpenNeedsClock(t *testing.T) {
	t.Parallel()
	if b, err := broker.Open("", broker.Options{}); err == nil {
		t.Error("opened without a clock", b.Close())
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	b := open(t, "", broker.Options{})
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := b.CreateTopic(ctx, &pubsubpb.Topic{Name: topicName("late")}); err == nil || ctx.Err() != nil {
		t.Errorf("after Close: %v", err)
	}
}
