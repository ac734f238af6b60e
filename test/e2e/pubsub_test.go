package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isectech/service-networking/shared/platform/events"
)

// pubsubOptions connect a client to an emulator.
func pubsubOptions(address string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(address), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

func pubsubClient(t testing.TB, address, project string) *pubsub.Client {
	t.Helper()
	client, err := pubsub.NewClient(t.Context(), project, pubsubOptions(address)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// publisher publishes to the platform's topics as services do.
func publisher(t testing.TB, p Platform) *events.PubSub {
	t.Helper()
	address, project := p.PubSub()
	out, err := events.NewPubSub(t.Context(), project, pubsubOptions(address)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close(context.WithoutCancel(t.Context())) })
	return out
}

// heard is what a subscriber has received, each event once by source and id.
type heard struct {
	mu       sync.Mutex
	events   map[string]heardEvent // by source and id
	repeated int
}

type heardEvent struct{ id, kind, subject, data string }

// listen subscribes to a topic until the test ends.
func listen(t testing.TB, p Platform, topic string) *heard {
	t.Helper()
	address, project := p.PubSub()
	client := pubsubClient(t, address, project)
	name := fmt.Sprintf("projects/%s/subscriptions/%s-%s", project, topic, strings.ToLower(rand.Text()))
	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: name, Topic: fmt.Sprintf("projects/%s/topics/%s", project, topic), AckDeadlineSeconds: 10,
	}); err != nil {
		t.Fatal(err)
	}
	h := &heard{events: map[string]heardEvent{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.pull(ctx, client, name)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return h
}

// pull takes messages until ctx ends. An error is no more than a wait: what was not acknowledged comes again.
func (h *heard) pull(ctx context.Context, client *pubsub.Client, subscription string) {
	for ctx.Err() == nil {
		got, err := client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 200})
		if err != nil || len(got.GetReceivedMessages()) == 0 {
			timer := time.NewTimer(10 * time.Millisecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			continue
		}
		var acks []string
		for _, m := range got.GetReceivedMessages() {
			h.take(m.GetMessage())
			acks = append(acks, m.GetAckId())
		}
		_ = client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: acks})
	}
}

func (h *heard) take(m *pubsubpb.PubsubMessage) {
	e := heardEvent{m.GetAttributes()["ce-id"], m.GetAttributes()["ce-type"], m.GetAttributes()["ce-subject"], string(m.GetData())}
	key := m.GetAttributes()["ce-source"] + " " + e.id
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.events[key]; known {
		h.repeated++
	}
	h.events[key] = e
}

// ids returns the types of the events whose subject passes, by id, and an error when two of different sources
// share an id.
func (h *heard) ids(about func(subject string) bool) (map[string]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found := map[string]string{}
	for _, e := range h.events {
		if !about(e.subject) {
			continue
		}
		if _, twice := found[e.id]; twice {
			return nil, fmt.Errorf("%s comes from two sources", e.id)
		}
		found[e.id] = e.kind
	}
	return found, nil
}

// startPubSub starts an emulator of Pub/Sub that ends with the test.
func startPubSub(t testing.TB) (address string) {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		missing(t, "Pub/Sub", err)
	}
	jar, err := pubsubJar()
	if err != nil {
		missing(t, "Pub/Sub", err)
	}
	port := freePort(t)
	address = "127.0.0.1:" + port
	run(t, &process{
		name:    "the Pub/Sub emulator",
		command: guarded(java, "-XX:TieredStopAtLevel=1", "-jar", jar, "--host=127.0.0.1", "--port="+port),
		env:     os.Environ(), health: "http://" + address + "/",
	})
	return address
}

// pubsubJar finds the emulator in the gcloud SDK.
func pubsubJar() (string, error) {
	roots := []string{os.Getenv("CLOUDSDK_ROOT"), "/usr/lib/google-cloud-sdk", filepath.Join(os.Getenv("HOME"), "google-cloud-sdk")}
	if gcloud, err := exec.LookPath("gcloud"); err == nil {
		if gcloud, err = filepath.EvalSymlinks(gcloud); err == nil {
			roots = append(roots, filepath.Dir(filepath.Dir(gcloud)))
		}
	}
	for _, root := range roots {
		found, err := filepath.Glob(filepath.Join(root, "platform", "pubsub-emulator", "lib", "cloud-pubsub-emulator-*-all.jar"))
		if err == nil && root != "" && len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("no emulator in %q (gcloud components install pubsub-emulator)", roots)
}
