package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
)

// childVariable tells the test binary to be the process that is killed.
const childVariable = "BROKER_TEST_CHILD"

// publishForEver publishes messages and prints the data of each once it has been accepted. It acknowledges
// some of them, and prints that too.
func publishForEver(path string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	b, err := broker.Open(path, broker.Options{Now: time.Now})
	if err != nil {
		return fail(err)
	}
	ctx := context.Background()
	if _, err := b.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: topicName("topic")}); err != nil {
		if _, err := b.CreateTopic(ctx, &pubsubpb.Topic{Name: topicName("topic")}); err != nil {
			return fail(err)
		}
		if _, err := b.CreateSubscription(ctx, &pubsubpb.Subscription{Name: subName("sub"), Topic: topicName("topic")}); err != nil {
			return fail(err)
		}
	}
	lines := make(chan string)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				data := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				_, err := b.Publish(ctx, &pubsubpb.PublishRequest{Topic: topicName("topic"), Messages: []*pubsubpb.PubsubMessage{text(data)}})
				if err != nil {
					os.Exit(fail(err))
				}
				lines <- "published " + data
			}
		}()
	}
	go func() {
		for n := 0; ; n++ {
			resp, err := b.Pull(ctx, &pubsubpb.PullRequest{Subscription: subName("sub"), MaxMessages: 1})
			if err != nil {
				os.Exit(fail(err))
			}
			if n%3 > 0 {
				continue // leased until the kill
			}
			for _, m := range resp.GetReceivedMessages() {
				lines <- "acknowledging " + string(m.GetMessage().GetData())
				_, err := b.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subName("sub"), AckIds: []string{m.GetAckId()}})
				if err != nil {
					os.Exit(fail(err))
				}
			}
		}
	}()
	for line := range lines {
		fmt.Println(line)
	}
	return 0
}

// TestKill kills a process that publishes, again and again: what it accepted is there, but for what was
// being acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pubsub.db")
	published, acknowledged := map[string]bool{}, map[string]bool{}
	for round := range 10 {
		cmd := exec.CommandContext(t.Context(), os.Args[0]) // #nosec G204 -- this binary
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaint strings.Builder
		cmd.Stderr = &complaint
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if data, ok := strings.CutPrefix(lines.Text(), "published "); ok {
				published[data] = true
			} else if data, ok := strings.CutPrefix(lines.Text(), "acknowledging "); ok {
				acknowledged[data] = true
			}
			if n == 40+10*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed
		if complaint.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaint.String())
		}
	}
	b := open(t, path, broker.Options{})
	client := clientOf(t, b)
	want := 0
	for data := range published {
		if !acknowledged[data] {
			want++
		}
	}
	if want < 50 {
		t.Errorf("only %d messages were to survive", want)
	}
	found := map[string]bool{}
	for {
		resp, err := client.SubscriptionAdminClient.Pull(t.Context(), &pubsubpb.PullRequest{
			Subscription: subName("sub"), MaxMessages: 1000, ReturnImmediately: true}) //nolint:staticcheck // deprecated, and just what is wanted
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.GetReceivedMessages()) == 0 {
			break
		}
		for _, m := range resp.GetReceivedMessages() {
			data := string(m.GetMessage().GetData())
			if found[data] {
				t.Errorf("%s is there twice", data)
			}
			found[data] = true
		}
		ack(t, client, subName("sub"), resp.GetReceivedMessages()...)
	}
	for data := range published {
		if !found[data] && !acknowledged[data] {
			t.Errorf("accepted and lost: %s", data)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pubsub.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t, path, broker.Options{})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %#o", info.Mode().Perm())
	}
	if other, err := broker.Open(path, broker.Options{Now: time.Now}); !errors.Is(err, broker.ErrLocked) {
		t.Errorf("opened twice: %v, %v", err, other)
	}
	client := clientOf(t, b)
	topic := createTopic(t, client, "topic")
	sub := createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic})
	publish(t, client, topic, text("a-text-that-is-nowhere-else"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	b = open(t, path, broker.Options{})
	got := pull(t, clientOf(t, b), sub, 1)
	wantEqual(t, "after opening again", []string{"a-text-that-is-nowhere-else"}, dataOf(got))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = []byte(strings.ReplaceAll(string(content), "nowhere", "Nowhere"))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := broker.Open(path, broker.Options{Now: time.Now}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file is opened: %v, %v", err, b)
	}
}

// TestNothingStays publishes and acknowledges much and finds the file as big as before.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pubsub.db")
	b := open(t, path, broker.Options{})
	client := clientOf(t, b)
	topic := createTopic(t, client, "topic")
	for _, id := range []string{"one", "two"} {
		createSub(t, client, &pubsubpb.Subscription{Name: subName(id), Topic: topic})
	}
	payload := strings.Repeat("x", 100_000)
	for range 50 {
		publish(t, client, topic, text(payload))
		for _, id := range []string{"one", "two"} {
			ack(t, client, subName(id), pull(t, client, subName(id), 1)...)
		}
	}
	publish(t, client, topic, text("last"), text(payload))
	err := client.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: subName("two")})
	if err != nil {
		t.Fatal(err)
	}
	got := pull(t, client, subName("one"), 2)
	for _, m := range got {
		if string(m.GetMessage().GetData()) != "last" {
			ack(t, client, subName("one"), m)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2<<20 {
		t.Errorf("the file has %d bytes for one short message", info.Size())
	}
	b = open(t, path, broker.Options{})
	client = clientOf(t, b)
	wantEqual(t, "what is left", []string{"last"}, dataOf(pull(t, client, subName("one"), 1)))
	empty(t, client, subName("one"))
}
