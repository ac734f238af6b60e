package events_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isectech/service-networking/shared/platform/events"
)

// What the real client publishes, the official emulator pushes and Decode reads; what fails is pushed again.
func TestEmulator(t *testing.T) {
	t.Parallel()
	opts := []option.ClientOption{
		option.WithEndpoint(emulator.address(t)), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	const project = "isectech-test"
	topic := "projects/" + project + "/topics/" + events.TopicRegistryCommands
	var calls atomic.Int64
	got := make(chan events.Delivery, 10)
	b := newBench(func(_ context.Context, d events.Delivery) error {
		if calls.Add(1) == 1 {
			return errors.New("not this time")
		}
		got <- d
		return nil
	}, func(o *events.Options) { o.Now, o.MaxAge = time.Now, time.Hour })
	server := httptest.NewServer(b.handler)
	defer server.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := pubsub.NewClient(ctx, project, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	subscription := &pubsubpb.Subscription{
		Name: "projects/" + project + "/subscriptions/commands", Topic: topic, AckDeadlineSeconds: 10,
		PushConfig: &pubsubpb.PushConfig{PushEndpoint: server.URL},
	}
	if _, err := client.SubscriptionAdminClient.CreateSubscription(ctx, subscription); err != nil {
		t.Fatal(err)
	}
	p, err := events.NewPubSub(ctx, project, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	e := command()
	e.Time = time.Now().UTC().Truncate(time.Microsecond)
	if err := p.Publish(ctx, events.TopicRegistryCommands, e); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-got:
		want := e
		want.RequestID, want.Attempt, want.OrderingKey = e.ID, 0, "" // the emulator pushes neither attempt nor key
		if diff := cmp.Diff(want, d.Event); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if d.Subscription != subscription.Name || d.MessageID == "" {
			t.Errorf("%+v", d)
		}
	case <-ctx.Done():
		t.Fatalf("no delivery; logs:\n%s", b.logs.text.String())
	}

	// The Scheduler's form: data and nothing else.
	if err := p.Publish(ctx, events.TopicRegistryCommands, events.Event{Data: []byte("tick")}); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-got:
		if d.Event.Type != "" || string(d.Event.Data) != "tick" || d.Event.ID != d.MessageID || d.Event.Time.IsZero() ||
			d.Event.Source != "//pubsub.googleapis.com/"+subscription.Name {
			t.Errorf("%+v", d)
		}
	case <-ctx.Done():
		t.Fatal("no delivery of a plain message")
	}
}

// emulator is the Pub/Sub emulator of this test binary: the one that PUBSUB_EMULATOR_HOST names, or one of
// its own.
var emulator pubsubEmulator

type pubsubEmulator struct {
	once  sync.Once
	addr  string
	err   error
	stdin io.Closer
	cmd   *exec.Cmd
}

// address returns its host:port; without one the test is skipped, or fails in CI.
func (e *pubsubEmulator) address(t *testing.T) string {
	t.Helper()
	e.once.Do(func() {
		if e.addr = os.Getenv("PUBSUB_EMULATOR_HOST"); e.addr == "" {
			e.err = e.start()
		}
	})
	if e.err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the Pub/Sub emulator is required in CI: %v", e.err)
		}
		t.Skipf("NOT TESTED against Pub/Sub, since its emulator cannot be started: %v", e.err)
	}
	return e.addr
}

func (e *pubsubEmulator) start() error {
	jar, err := emulatorJar()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.addr = listener.Addr().String()
	_, port, err := net.SplitHostPort(e.addr)
	if err := errors.Join(err, listener.Close()); err != nil {
		return err
	}
	// The shell ends java when its standard input ends, in whatever way this process does.
	e.cmd = exec.CommandContext(context.Background(), "sh", "-c", `"$@" </dev/null >/dev/null 2>&1 & java=$!
read -r _; kill -9 "$java"; wait "$java"`, "guard", "java", "-XX:TieredStopAtLevel=1", "-jar", jar, "--host=127.0.0.1", "--port="+port)
	if e.stdin, err = e.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := e.cmd.Start(); err != nil {
		return err
	}
	for {
		if e.ready(ctx) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", filepath.Base(jar), ctx.Err())
		}
	}
}

// ready reports whether the emulator answers.
func (e *pubsubEmulator) ready(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.addr+"/", http.NoBody)
	if err != nil {
		return false
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (e *pubsubEmulator) stop() {
	if e.stdin != nil {
		_ = e.stdin.Close()
		_ = e.cmd.Wait()
	}
}

// emulatorJar finds the emulator in the gcloud SDK.
func emulatorJar() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", err
	}
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
	return "", fmt.Errorf("no Pub/Sub emulator in %s (gcloud components install pubsub-emulator)", strings.Join(roots, " "))
}

// stopEmulator runs the tests and ends the emulator, before anybody looks for what was left running.
type stopEmulator struct{ *testing.M }

// Run runs the tests.
func (s stopEmulator) Run() int {
	status := s.M.Run()
	emulator.stop()
	return status
}
