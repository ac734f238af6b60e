package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
)

// openStream begins a StreamingPull without the client's own buffering.
func openStream(t *testing.T, c *pubsub.Client, first *pubsubpb.StreamingPullRequest) pubsubpb.Subscriber_StreamingPullClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	stream, err := c.SubscriptionAdminClient.StreamingPull(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(first); err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestStreamFlow keeps what a stream has not answered within what it can take.
func TestStreamFlow(t *testing.T) {
	t.Parallel()
	const size = 1000
	for name, tt := range map[string]struct {
		first *pubsubpb.StreamingPullRequest
		most  int
	}{
		"messages": {&pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 3}, 3},
		"bytes":    {&pubsubpb.StreamingPullRequest{MaxOutstandingBytes: 5*size + 1}, 5},
		"one":      {&pubsubpb.StreamingPullRequest{MaxOutstandingBytes: 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := clientOf(t, open(t, "", broker.Options{}))
			topic := createTopic(t, client, "topic")
			sub := createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic})
			const count = 40
			for range count {
				publish(t, client, topic, &pubsubpb.PubsubMessage{Data: make([]byte, size)})
			}
			tt.first.Subscription, tt.first.StreamAckDeadlineSeconds = sub, 60
			stream := openStream(t, client, tt.first)
			var out []string
			for seen := 0; seen < count; {
				resp, err := stream.Recv()
				if err != nil {
					t.Fatalf("after %d messages: %v", seen, err)
				}
				for _, m := range resp.GetReceivedMessages() {
					out = append(out, m.GetAckId())
					seen++
				}
				if len(out) > tt.most {
					t.Fatalf("%d messages are out; want at most %d", len(out), tt.most)
				}
				// Some are answered on the stream, some beside it, some refused.
				for len(out) > tt.most-1 {
					var err error
					switch seen % 2 {
					case 0:
						err = stream.Send(&pubsubpb.StreamingPullRequest{AckIds: out[:1]})
					default:
						err = client.SubscriptionAdminClient.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: sub, AckIds: out[:1]})
					}
					if err != nil {
						t.Fatal(err)
					}
					out = out[1:]
				}
			}
		})
	}
}

// TestStreamAnswers answers pings, ends when the client hangs up and refuses what is not of the protocol.
func TestStreamAnswers(t *testing.T) {
	t.Parallel()
	client := clientOf(t, open(t, "", broker.Options{}))
	topic := createTopic(t, client, "topic")
	sub := createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic, EnableMessageOrdering: true})
	good := func() *pubsubpb.StreamingPullRequest {
		return &pubsubpb.StreamingPullRequest{Subscription: sub, StreamAckDeadlineSeconds: 60, ProtocolVersion: 1}
	}
	t.Run("ping", func(t *testing.T) {
		t.Parallel()
		stream := openStream(t, client, good())
		if err := stream.Send(&pubsubpb.StreamingPullRequest{}); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil || len(resp.GetReceivedMessages()) != 0 || !resp.GetSubscriptionProperties().GetMessageOrderingEnabled() {
			t.Errorf("got %v, %v", resp, err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err == nil || status.Code(err) == codes.DeadlineExceeded {
			t.Errorf("after hanging up: %v", err)
		}
	})
	for name, tt := range map[string]struct {
		first, second *pubsubpb.StreamingPullRequest
		want          codes.Code
	}{
		"no deadline":      {&pubsubpb.StreamingPullRequest{Subscription: sub}, nil, codes.InvalidArgument},
		"no subscription":  {&pubsubpb.StreamingPullRequest{Subscription: subName("none"), StreamAckDeadlineSeconds: 60}, nil, codes.NotFound},
		"subscribed twice": {good(), &pubsubpb.StreamingPullRequest{Subscription: sub}, codes.InvalidArgument},
		"limits changed":   {good(), &pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 1}, codes.InvalidArgument},
		"long deadline":    {good(), &pubsubpb.StreamingPullRequest{StreamAckDeadlineSeconds: 601}, codes.InvalidArgument},
		"ack id":           {good(), &pubsubpb.StreamingPullRequest{AckIds: []string{"x"}}, codes.InvalidArgument},
		"uneven":           {good(), &pubsubpb.StreamingPullRequest{ModifyDeadlineAckIds: []string{"x"}}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := openStream(t, client, tt.first)
			if tt.second != nil {
				if err := stream.Send(tt.second); err != nil {
					t.Fatal(err)
				}
			}
			if resp, err := stream.Recv(); status.Code(err) != tt.want {
				t.Errorf("got %v, %v; want %s", resp, err, tt.want)
			}
		})
	}
}

// TestAttemptsSurvive counts on where the process left off.
func TestAttemptsSurvive(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pubsub.db")
	b := open(t, path, broker.Options{})
	client := clientOf(t, b)
	topic, dead := createTopic(t, client, "topic"), createTopic(t, client, "dead")
	sub := createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic,
		DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: dead}})
	createSub(t, client, &pubsubpb.Subscription{Name: subName("dead"), Topic: dead})
	publish(t, client, topic, text("a"))
	for range 3 {
		nack(t, client, sub, pull(t, client, sub, 1)...)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	client = clientOf(t, open(t, path, broker.Options{}))
	for want := int32(4); want <= 5; want++ {
		got := pull(t, client, sub, 1)
		if got[0].GetDeliveryAttempt() != want {
			t.Errorf("attempt %d; want %d", got[0].GetDeliveryAttempt(), want)
		}
		nack(t, client, sub, got...)
	}
	wantEqual(t, "dead letters", []string{"a"}, dataOf(pull(t, client, subName("dead"), 1)))
	empty(t, client, sub)
}

// TestChurn does everything at once, and opens what is left on the disk.
func TestChurn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pubsub.db")
	for round := range 4 {
		b := open(t, path, broker.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		var group sync.WaitGroup
		for w := range 6 {
			group.Go(func() {
				dice := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for n := 0; ctx.Err() == nil; n++ {
					churn(ctx, b, dice, n)
				}
			})
		}
		group.Wait()
		cancel()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open(t, path, broker.Options{})
}

// churn does one thing or another to three topics and three subscriptions. That it may fail is part of it.
func churn(ctx context.Context, b *broker.Broker, dice *rand.Rand, n int) {
	topic := topicName(fmt.Sprint("topic", dice.IntN(3)))
	sub := subName(fmt.Sprint("sub", dice.IntN(3)))
	switch k := dice.IntN(20); {
	case k == 0:
		_, _ = b.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topic})
	case k == 1:
		_, _ = b.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: sub})
	case k < 4:
		_, _ = b.CreateTopic(ctx, &pubsubpb.Topic{Name: topic})
	case k < 6:
		_, _ = b.CreateSubscription(ctx, &pubsubpb.Subscription{Name: sub, Topic: topic, EnableMessageOrdering: dice.IntN(2) == 0,
			DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topicName("topic0")}})
	case k < 12:
		_, _ = b.Publish(ctx, &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{
			{Data: []byte(fmt.Sprint(n)), OrderingKey: fmt.Sprint(dice.IntN(2))}}})
	default:
		resp, err := b.Pull(ctx, &pubsubpb.PullRequest{Subscription: sub, MaxMessages: 3, ReturnImmediately: true}) //nolint:staticcheck // deprecated, and just what is wanted
		if err != nil {
			return
		}
		for _, m := range resp.GetReceivedMessages() {
			if dice.IntN(3) > 0 {
				_, _ = b.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: sub, AckIds: []string{m.GetAckId()}})
			} else {
				_, _ = b.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{Subscription: sub, AckIds: []string{m.GetAckId()}})
			}
		}
	}
}
