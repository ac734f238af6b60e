package local_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/security"
)

// Whoever subscribes to the security events hears of a replay.
func TestReplayIsTold(t *testing.T) {
	t.Parallel()
	p := mustRun(t, newDir(t), nil)
	c := p.pubSub(t)
	if _, err := c.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: subscriptions + "siem", Topic: topics + events.TopicSecurityEvents,
	}); err != nil {
		t.Fatal(err)
	}
	signed := p.sign(t, gateway, http.MethodPost, p.Server+tokenPath, tokenForm)
	for _, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if status, answer := p.request(t, http.MethodPost, tokenPath, tokenForm, signed); status != want {
			t.Fatalf("%d %v", status, answer)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got *pubsub.Message
	subscriber := c.Subscriber(subscriptions + "siem")
	subscriber.ReceiveSettings.MaxOutstandingMessages = 1
	if err := subscriber.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		got = m
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	var incident security.Incident
	if got == nil || got.Attributes["ce-type"] != security.ReplayDetected.Type() || json.Unmarshal(got.Data, &incident) != nil {
		t.Fatalf("told %+v", got)
	}
	if incident.Severity != security.High || incident.ServiceName != gateway || incident.RequestID == "" || incident.SourceNetwork != "127.0.0.0/24" {
		t.Errorf("told %+v", incident)
	}
}
