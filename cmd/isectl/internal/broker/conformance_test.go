package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
)

// TestConformance holds the broker, in memory over its pipe and on disk over TCP, and the official emulator
// to the same words. Each case has topics and subscriptions of its own.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(t *testing.T) *pubsub.Client{
		"memory": func(t *testing.T) *pubsub.Client {
			return clientOf(t, open(t, "", broker.Options{}))
		},
		"disk": func(t *testing.T) *pubsub.Client {
			return dial(t, serve(t, open(t, filepath.Join(t.TempDir(), "pubsub.db"), broker.Options{})))
		},
		"emulator": func(t *testing.T) *pubsub.Client { return dial(t, emulator.at(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := connect(t)
			for name, run := range conformance {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					run(t, client, strings.ReplaceAll(name, " ", "-"))
				})
			}
		})
	}
}

// conformance are the cases; id begins the names of what a case makes.
var conformance = map[string]func(t *testing.T, c *pubsub.Client, id string){
	"topics": func(t *testing.T, c *pubsub.Client, id string) {
		admin, ctx := c.TopicAdminClient, t.Context()
		name := createTopic(t, c, id)
		if _, err := admin.CreateTopic(ctx, &pubsubpb.Topic{Name: name}); status.Code(err) != codes.AlreadyExists {
			t.Errorf("made twice: %v", err)
		}
		got, err := admin.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: name})
		if err != nil || got.GetName() != name {
			t.Errorf("got %v, %v", got, err)
		}
		found := false
		for it := admin.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/" + project}); ; {
			topic, err := it.Next()
			if errors.Is(err, iterator.Done) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			found = found || topic.GetName() == name
		}
		if !found {
			t.Error("not listed")
		}
		for range 2 {
			err = admin.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: name})
		}
		if status.Code(err) != codes.NotFound {
			t.Errorf("deleted twice: %v", err)
		}
		if _, err := admin.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: name}); status.Code(err) != codes.NotFound {
			t.Errorf("after deletion: %v", err)
		}
		_, err = admin.Publish(ctx, &pubsubpb.PublishRequest{Topic: name, Messages: []*pubsubpb.PubsubMessage{text("a")}})
		if status.Code(err) != codes.NotFound {
			t.Errorf("published to nothing: %v", err)
		}
	},
	"names": func(t *testing.T, c *pubsub.Client, _ string) {
		for _, id := range []string{"ab", "1abc", "goog-abc", "a/b", strings.Repeat("a", 256), "a b c"} {
			if _, err := c.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topicName(id)}); status.Code(err) != codes.InvalidArgument {
				t.Errorf("topic %q: %v", id, err)
			}
		}
	},
	"subscriptions": func(t *testing.T, c *pubsub.Client, id string) {
		admin, ctx := c.SubscriptionAdminClient, t.Context()
		topic := createTopic(t, c, id)
		want := &pubsubpb.Subscription{Name: subName(id), Topic: topic, Labels: map[string]string{"a": "b"}}
		made, err := admin.CreateSubscription(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		if made.GetAckDeadlineSeconds() != 10 || made.GetMessageRetentionDuration().AsDuration() != 7*24*time.Hour {
			t.Errorf("defaults: %v", made)
		}
		got, err := admin.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: want.GetName()})
		if err != nil || got.GetTopic() != topic || got.GetLabels()["a"] != "b" {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := admin.CreateSubscription(ctx, want); status.Code(err) != codes.AlreadyExists {
			t.Errorf("made twice: %v", err)
		}
		_, err = admin.CreateSubscription(ctx, &pubsubpb.Subscription{Name: subName(id + "-2"), Topic: topicName("none-such")})
		if status.Code(err) != codes.NotFound {
			t.Errorf("of no topic: %v", err)
		}
		got, err = admin.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: &pubsubpb.Subscription{Name: want.GetName(), AckDeadlineSeconds: 42},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"ack_deadline_seconds"}},
		})
		if err != nil || got.GetAckDeadlineSeconds() != 42 || got.GetLabels()["a"] != "b" {
			t.Errorf("updated: %v, %v", got, err)
		}
		if err := c.TopicAdminClient.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: topic}); err != nil {
			t.Fatal(err)
		}
		got, err = admin.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: want.GetName()})
		if err != nil || got.GetTopic() != "_deleted-topic_" {
			t.Errorf("without its topic: %v, %v", got, err)
		}
		if err := admin.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: want.GetName()}); err != nil {
			t.Error(err)
		}
		if _, err := admin.Pull(ctx, &pubsubpb.PullRequest{Subscription: want.GetName(), MaxMessages: 1}); status.Code(err) != codes.NotFound {
			t.Errorf("pulled from nothing: %v", err)
		}
	},
	"settings refused": func(t *testing.T, c *pubsub.Client, id string) {
		topic := createTopic(t, c, id)
		for name, s := range map[string]*pubsubpb.Subscription{
			"deadline":  {AckDeadlineSeconds: 601},
			"retention": {MessageRetentionDuration: durationpb.New(time.Minute)},
			"backoff":   {RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Hour)}},
			"endpoint":  {PushConfig: &pubsubpb.PushConfig{PushEndpoint: "ftp://127.0.0.1/"}},
		} {
			s.Name, s.Topic = subName(id+"-"+name), topic
			if _, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), s); status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		}
	},
	"empty messages": func(t *testing.T, c *pubsub.Client, id string) {
		topic := createTopic(t, c, id)
		_, err := c.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: []*pubsubpb.PubsubMessage{{}}})
		if status.Code(err) != codes.InvalidArgument {
			t.Error(err)
		}
	},
	"pull and acknowledge": func(t *testing.T, c *pubsub.Client, id string) {
		topic := createTopic(t, c, id)
		publish(t, c, topic, text("before the subscription"))
		one := createSub(t, c, &pubsubpb.Subscription{Name: subName(id + "-1"), Topic: topic})
		two := createSub(t, c, &pubsubpb.Subscription{Name: subName(id + "-2"), Topic: topic})
		ids := publish(t, c, topic, text("a"), &pubsubpb.PubsubMessage{Data: []byte("b"), Attributes: map[string]string{"k": "v"}})
		for _, sub := range []string{one, two} {
			got := pull(t, c, sub, 2)
			wantEqual(t, "data", []string{"a", "b"}, sorted(dataOf(got)))
			byID := map[string]*pubsubpb.PubsubMessage{}
			for _, m := range got {
				byID[m.GetMessage().GetMessageId()] = m.GetMessage()
			}
			if m := byID[ids[1]]; m.GetAttributes()["k"] != "v" || m.GetPublishTime().AsTime().IsZero() {
				t.Errorf("second message: %v", m)
			}
			ack(t, c, sub, got...)
			empty(t, c, sub)
		}
	},
	"refuse": func(t *testing.T, c *pubsub.Client, id string) {
		topic := createTopic(t, c, id)
		sub := createSub(t, c, &pubsubpb.Subscription{Name: subName(id), Topic: topic})
		publish(t, c, topic, text("a"))
		for range 3 {
			nack(t, c, sub, pull(t, c, sub, 1)...)
		}
		ack(t, c, sub, pull(t, c, sub, 1)...)
		empty(t, c, sub)
	},
	"receive": func(t *testing.T, c *pubsub.Client, id string) {
		topic := createTopic(t, c, id)
		sub := createSub(t, c, &pubsubpb.Subscription{Name: subName(id), Topic: topic})
		publisher := c.Publisher(topic)
		var want []string
		var results []*pubsub.PublishResult
		for i := range 300 {
			want = append(want, fmt.Sprint(i))
			results = append(results, publisher.Publish(t.Context(), &pubsub.Message{Data: []byte(want[i])}))
		}
		for _, r := range results {
			if _, err := r.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		publisher.Stop()
		wantEqual(t, "received", sorted(want), sorted(receive(t, c, sub, len(want))))
	},
	"order": func(t *testing.T, c *pubsub.Client, id string) {
		topic := createTopic(t, c, id)
		sub := createSub(t, c, &pubsubpb.Subscription{Name: subName(id), Topic: topic, EnableMessageOrdering: true})
		want := map[string][]string{}
		for i := range 60 {
			key := fmt.Sprint("key", i%3)
			data := fmt.Sprint(key, ":", i)
			want[key] = append(want[key], data)
			publish(t, c, topic, &pubsubpb.PubsubMessage{Data: []byte(data), OrderingKey: key})
		}
		got := map[string][]string{}
		for _, data := range receive(t, c, sub, 60) {
			key, _, _ := strings.Cut(data, ":")
			got[key] = append(got[key], data)
		}
		wantEqual(t, "by key", want, got)
	},
	"push": func(t *testing.T, c *pubsub.Client, id string) {
		bodies := make(chan map[string]any, 10)
		failed := make(chan bool, 1)
		failed <- true
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			content, err := io.ReadAll(r.Body)
			var body map[string]any
			if err != nil || r.Method != http.MethodPost || json.Unmarshal(content, &body) != nil {
				t.Errorf("%s %s: %q, %v", r.Method, r.URL, content, err)
			}
			select {
			case <-failed:
				w.WriteHeader(http.StatusInternalServerError)
			default:
				w.WriteHeader(http.StatusNoContent)
				bodies <- body
			}
		}))
		t.Cleanup(server.Close)
		topic := createTopic(t, c, id)
		sub := createSub(t, c, &pubsubpb.Subscription{Name: subName(id), Topic: topic, PushConfig: &pubsubpb.PushConfig{PushEndpoint: server.URL + "/a/path"}})
		t.Cleanup(func() {
			_ = c.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: sub})
		})
		ids := publish(t, c, topic, &pubsubpb.PubsubMessage{Data: []byte("hello"), Attributes: map[string]string{"k": "v"}})
		var body map[string]any
		select {
		case body = <-bodies:
		case <-time.After(patience):
			t.Fatal("not pushed again after a failure")
		}
		message, _ := body["message"].(map[string]any)
		for _, name := range []string{"publishTime", "publish_time"} {
			at, _ := message[name].(string)
			if _, err := time.Parse(time.RFC3339, at); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			delete(message, name)
		}
		want := map[string]any{"subscription": sub, "message": map[string]any{
			"attributes": map[string]any{"k": "v"}, "data": "aGVsbG8=", "messageId": ids[0], "message_id": ids[0],
		}}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
	},
}
