package broker_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
)

// TestLimits publishes what is just allowed and what just is not.
func TestLimits(t *testing.T) {
	t.Parallel()
	client := clientOf(t, open(t, "", broker.Options{}))
	topic := createTopic(t, client, "topic")
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = "v"
		}
		return m
	}
	for name, tt := range map[string]struct{ good, bad *pubsubpb.PubsubMessage }{
		"bytes":      {text(strings.Repeat("x", 10_000_000)), text(strings.Repeat("x", 10_000_001))},
		"attributes": {&pubsubpb.PubsubMessage{Attributes: many(100)}, &pubsubpb.PubsubMessage{Attributes: many(101)}},
		"attribute key": {
			&pubsubpb.PubsubMessage{Attributes: map[string]string{strings.Repeat("k", 256): ""}},
			&pubsubpb.PubsubMessage{Attributes: map[string]string{strings.Repeat("k", 257): ""}},
		},
		"attribute value": {
			&pubsubpb.PubsubMessage{Attributes: map[string]string{"k": strings.Repeat("v", 1024)}},
			&pubsubpb.PubsubMessage{Attributes: map[string]string{"k": strings.Repeat("v", 1025)}},
		},
		"reserved key": {
			&pubsubpb.PubsubMessage{Attributes: map[string]string{"googclient_traceparent": "v"}},
			&pubsubpb.PubsubMessage{Attributes: map[string]string{"google": "v"}},
		},
		"key without name": {text("x"), &pubsubpb.PubsubMessage{Attributes: map[string]string{"": "v"}}},
		"ordering key": {
			&pubsubpb.PubsubMessage{Data: []byte("x"), OrderingKey: strings.Repeat("k", 1024)},
			&pubsubpb.PubsubMessage{Data: []byte("x"), OrderingKey: strings.Repeat("k", 1025)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			publish(t, client, topic, tt.good)
			_, err := client.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{
				Topic: topic, Messages: []*pubsubpb.PubsubMessage{text("good"), tt.bad}})
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("messages", func(t *testing.T) {
		t.Parallel()
		messages := make([]*pubsubpb.PubsubMessage, 1000)
		for i := range messages {
			messages[i] = text("x")
		}
		if ids := publish(t, client, topic, messages...); len(ids) != 1000 {
			t.Errorf("%d ids", len(ids))
		}
		_, err := client.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: append(messages, text("x"))})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("1001 messages: %v", err)
		}
	})
}

// TestRefusedSubscriptions holds what is not done apart from what is wrong.
func TestRefusedSubscriptions(t *testing.T) {
	t.Parallel()
	client := clientOf(t, open(t, "", broker.Options{}))
	topic := createTopic(t, client, "topic")
	push := func(endpoint string) *pubsubpb.Subscription {
		return &pubsubpb.Subscription{PushConfig: &pubsubpb.PushConfig{PushEndpoint: endpoint}}
	}
	dead := func(topic string, attempts int32) *pubsubpb.Subscription {
		return &pubsubpb.Subscription{DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topic, MaxDeliveryAttempts: attempts}}
	}
	for name, tt := range map[string]struct {
		s    *pubsubpb.Subscription
		want codes.Code
	}{
		"plain":                   {&pubsubpb.Subscription{}, codes.OK},
		"deadline too short":      {&pubsubpb.Subscription{AckDeadlineSeconds: 9}, codes.InvalidArgument},
		"deadline negative":       {&pubsubpb.Subscription{AckDeadlineSeconds: -1}, codes.InvalidArgument},
		"retention too long":      {&pubsubpb.Subscription{MessageRetentionDuration: durationpb.New(32 * 24 * time.Hour)}, codes.InvalidArgument},
		"retention no duration":   {&pubsubpb.Subscription{MessageRetentionDuration: &durationpb.Duration{Seconds: 1e15}}, codes.InvalidArgument},
		"backoff negative":        {&pubsubpb.Subscription{RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(-1)}}, codes.InvalidArgument},
		"backoff crossed":         {&pubsubpb.Subscription{RetryPolicy: &pubsubpb.RetryPolicy{MaximumBackoff: durationpb.New(time.Second)}}, codes.InvalidArgument},
		"too few attempts":        {dead(topic, 4), codes.InvalidArgument},
		"too many attempts":       {dead(topic, 101), codes.InvalidArgument},
		"dead letters to nowhere": {dead(topicName("none"), 5), codes.NotFound},
		"dead letters nameless":   {dead("none", 5), codes.InvalidArgument},
		"filter":                  {&pubsubpb.Subscription{Filter: "attributes"}, codes.InvalidArgument},
		"endpoint relative":       {push("/path"), codes.InvalidArgument},
		"endpoint elsewhere":      {push("http://192.0.2.1/"), codes.InvalidArgument},
		"endpoint by name":        {push("http://example.com/"), codes.InvalidArgument},
		"endpoint in disguise":    {push("http://127.0.0.1@192.0.2.1/"), codes.InvalidArgument},
		"endpoint with password":  {push("http://user:secret@127.0.0.1/"), codes.InvalidArgument},
		"endpoint over IPv6":      {push("http://[::1]:1/"), codes.OK},
		"exactly once":            {&pubsubpb.Subscription{EnableExactlyOnceDelivery: true}, codes.Unimplemented},
		"retain acked":            {&pubsubpb.Subscription{RetainAckedMessages: true}, codes.Unimplemented},
		"export":                  {&pubsubpb.Subscription{BigqueryConfig: &pubsubpb.BigQueryConfig{}}, codes.Unimplemented},
		"unwrapped": {&pubsubpb.Subscription{PushConfig: &pubsubpb.PushConfig{
			Wrapper: &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{}}}}, codes.Unimplemented},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.s.Name, tt.s.Topic = subName(strings.ReplaceAll(name, " ", "-")), topic
			_, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), tt.s)
			if status.Code(err) != tt.want {
				t.Errorf("got %v; want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestRefusedTopics(t *testing.T) {
	t.Parallel()
	client := clientOf(t, open(t, "", broker.Options{}))
	for name, topic := range map[string]*pubsubpb.Topic{
		"schema":    {SchemaSettings: &pubsubpb.SchemaSettings{}},
		"key":       {KmsKeyName: "k"},
		"retention": {MessageRetentionDuration: durationpb.New(time.Hour)},
		"ingestion": {IngestionDataSourceSettings: &pubsubpb.IngestionDataSourceSettings{}},
	} {
		topic.Name = topicName("topic-" + name)
		if _, err := client.TopicAdminClient.CreateTopic(t.Context(), topic); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	client := clientOf(t, open(t, "", broker.Options{Endpoint: func(*url.URL) error { return nil }}))
	ctx, topic := t.Context(), createTopic(t, client, "topic")
	sub := createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic, Filter: "attributes:a"})
	change := func(s *pubsubpb.Subscription, paths ...string) (*pubsubpb.Subscription, error) {
		s.Name = sub
		return client.SubscriptionAdminClient.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{
			Subscription: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}
	for name, tt := range map[string]struct {
		s     *pubsubpb.Subscription
		paths []string
		want  codes.Code
	}{
		"nothing":              {&pubsubpb.Subscription{}, nil, codes.InvalidArgument},
		"the filter":           {&pubsubpb.Subscription{}, []string{"filter"}, codes.InvalidArgument},
		"order":                {&pubsubpb.Subscription{}, []string{"enable_message_ordering"}, codes.InvalidArgument},
		"attempts of nothing":  {&pubsubpb.Subscription{}, []string{"dead_letter_policy.max_delivery_attempts"}, codes.InvalidArgument},
		"a bad deadline":       {&pubsubpb.Subscription{AckDeadlineSeconds: 1}, []string{"ack_deadline_seconds"}, codes.InvalidArgument},
		"to exactly once":      {&pubsubpb.Subscription{EnableExactlyOnceDelivery: true}, []string{"enable_exactly_once_delivery"}, codes.Unimplemented},
		"dead letters nowhere": {&pubsubpb.Subscription{DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topicName("none")}}, []string{"dead_letter_policy"}, codes.NotFound},
	} {
		if _, err := change(tt.s, tt.paths...); status.Code(err) != tt.want {
			t.Errorf("%s: %v; want %s", name, err, tt.want)
		}
	}
	got, err := change(&pubsubpb.Subscription{
		AckDeadlineSeconds: 20, Labels: map[string]string{"a": "b"}, RetryPolicy: &pubsubpb.RetryPolicy{},
		MessageRetentionDuration: durationpb.New(time.Hour), DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topic},
		PushConfig: &pubsubpb.PushConfig{PushEndpoint: "https://example.com/", AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{
			OidcToken: &pubsubpb.PushConfig_OidcToken{ServiceAccountEmail: "push@example.com"}}},
	}, "ack_deadline_seconds", "labels", "retry_policy", "message_retention_duration", "dead_letter_policy", "push_config", "expiration_policy")
	if err != nil {
		t.Fatal(err)
	}
	if got.GetFilter() != "attributes:a" || got.GetAckDeadlineSeconds() != 20 || got.GetRetryPolicy().GetMaximumBackoff().AsDuration() != 10*time.Minute ||
		got.GetDeadLetterPolicy().GetMaxDeliveryAttempts() != 5 || got.GetPushConfig().GetOidcToken().GetServiceAccountEmail() != "push@example.com" {
		t.Errorf("updated to %v", got)
	}
	stored, err := client.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: sub})
	if err != nil || stored.String() != got.String() {
		t.Errorf("stored %v, %v; want %v", stored, err, got)
	}
	_, err = client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: sub, MaxMessages: 1})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("pulled from what is pushed: %v", err)
	}
	err = client.SubscriptionAdminClient.ModifyPushConfig(ctx, &pubsubpb.ModifyPushConfigRequest{Subscription: sub, PushConfig: &pubsubpb.PushConfig{}})
	if err != nil {
		t.Fatal(err)
	}
	empty(t, client, sub)
	updated, err := client.TopicAdminClient.UpdateTopic(ctx, &pubsubpb.UpdateTopicRequest{
		Topic: &pubsubpb.Topic{Name: topic, Labels: map[string]string{"a": "b"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}})
	if err != nil || updated.GetLabels()["a"] != "b" {
		t.Errorf("topic updated to %v, %v", updated, err)
	}
}

// TestAckIDs refuses what is not an ack id of the subscription.
func TestAckIDs(t *testing.T) {
	t.Parallel()
	client := clientOf(t, open(t, "", broker.Options{}))
	topic := createTopic(t, client, "topic")
	one := createSub(t, client, &pubsubpb.Subscription{Name: subName("one"), Topic: topic})
	two := createSub(t, client, &pubsubpb.Subscription{Name: subName("two"), Topic: topic})
	publish(t, client, topic, text("a"))
	stranger := pull(t, client, two, 1)[0].GetAckId()
	for _, id := range []string{"", "1", "1.2", "1.2.3.4", "a.b.c", "-1.2.3", "1.99999999999999999999.3", stranger} {
		err := client.SubscriptionAdminClient.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: one, AckIds: []string{id}})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("ack id %q: %v", id, err)
		}
	}
	wantEqual(t, "still there", []string{"a"}, dataOf(pull(t, client, one, 1)))
}
