package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker"
)

// pushed is what a push endpoint saw.
type pushed struct {
	at      time.Duration // since the test began
	header  http.Header
	body    string
	data    string
	attempt int
}

// endpoint answers pushes as a function says and keeps them.
type endpoint struct {
	begin  time.Time
	answer func(p pushed) int

	mu   sync.Mutex
	seen []pushed
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	var body struct {
		Message         struct{ Data []byte }
		DeliveryAttempt int
	}
	_ = json.Unmarshal(content, &body)
	p := pushed{time.Since(e.begin), r.Header, string(content), string(body.Message.Data), body.DeliveryAttempt}
	e.mu.Lock()
	e.seen = append(e.seen, p)
	e.mu.Unlock()
	status := http.StatusOK
	if e.answer != nil {
		status = e.answer(p)
	}
	w.WriteHeader(status)
}

// data returns what was pushed, in order.
func (e *endpoint) data() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, p := range e.seen {
		out = append(out, p.data)
	}
	return out
}

// bubble is a broker on virtual time whose pushes end in the test's own process.
type bubble struct {
	*broker.Broker
	t testing.TB
	*endpoint
}

func newBubble(t testing.TB, opts broker.Options, answer func(p pushed) int) *bubble {
	t.Helper()
	e := &endpoint{begin: time.Now(), answer: answer}
	opts.Now, opts.Transport = time.Now, handlerFunc(e.ServeHTTP)
	b, err := broker.Open("", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bubble{b, t, e}
}

func (b *bubble) topic(id string) string {
	b.t.Helper()
	if _, err := b.CreateTopic(b.t.Context(), &pubsubpb.Topic{Name: topicName(id)}); err != nil {
		b.t.Fatal(err)
	}
	return topicName(id)
}

func (b *bubble) sub(s *pubsubpb.Subscription) {
	b.t.Helper()
	if _, err := b.CreateSubscription(b.t.Context(), s); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bubble) publish(topic string, messages ...*pubsubpb.PubsubMessage) {
	b.t.Helper()
	if _, err := b.Publish(b.t.Context(), &pubsubpb.PublishRequest{Topic: topic, Messages: messages}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bubble) pull(sub string) []*pubsubpb.ReceivedMessage {
	b.t.Helper()
	resp, err := b.Pull(b.t.Context(), &pubsubpb.PullRequest{Subscription: sub, MaxMessages: 100})
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.GetReceivedMessages()
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// after lets virtual time pass and all that happens by then happen. Only a test's own goroutine may.
func after(d time.Duration) {
	pass(d)
	synctest.Wait()
}

const pushTo = "http://127.0.0.1:8080/internal/events"

func pushConfig() *pubsubpb.PushConfig { return &pubsubpb.PushConfig{PushEndpoint: pushTo} }

// TestPushIsCloudEvent compares a push with what Eventarc sends a function.
func TestPushIsCloudEvent(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]bool{"event": false, "raw": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, broker.Options{
					Raw:        func(*pubsubpb.Subscription) bool { return raw },
					PushHeader: func(u *url.URL, h http.Header) { h.Set("X-Marker", u.Host) },
				}, nil)
				topic := b.topic("topic")
				b.topic("topic-dead-letter")
				b.sub(&pubsubpb.Subscription{
					Name: subName("sub"), Topic: topic, PushConfig: pushConfig(), EnableMessageOrdering: true,
					DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: topicName("topic-dead-letter")},
				})
				const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
				b.publish(topic, &pubsubpb.PubsubMessage{Data: []byte(`{"a":1}`), OrderingKey: "key",
					Attributes: map[string]string{"ce-type": "com.isectech.test.v1", "googclient_traceparent": parent}})
				synctest.Wait()
				if len(b.seen) != 1 {
					t.Fatalf("%d pushes", len(b.seen))
				}
				// The bubble's clock begins at midnight UTC of 2000-01-01.
				id, at := strconv.FormatInt(time.Now().UnixMicro(), 10), "2000-01-01T00:00:00.000Z"
				header := http.Header{
					"Content-Type": {"application/json"}, "User-Agent": {"CloudPubSub-Google"}, "Traceparent": {parent}, "X-Marker": {"127.0.0.1:8080"},
				}
				if !raw {
					for k, v := range map[string]string{
						"ce-id": id, "ce-source": "//pubsub.googleapis.com/" + topic, "ce-specversion": "1.0",
						"ce-type": "google.cloud.pubsub.topic.v1.messagePublished", "ce-time": at,
					} {
						header.Set(k, v)
					}
				}
				wantEqual(t, "header", header, b.seen[0].header)
				wantEqual(t, "body", `{"deliveryAttempt":1,"message":{`+
					`"attributes":{"ce-type":"com.isectech.test.v1","googclient_traceparent":"`+parent+`"},"data":"eyJhIjoxfQ==",`+
					`"messageId":"`+id+`","message_id":"`+id+`","orderingKey":"key","publishTime":"`+at+`","publish_time":"`+at+`"},`+
					`"subscription":"`+subName("sub")+`"}`, b.seen[0].body)
			})
		})
	}
}

// TestTraceparent passes on what is one and nothing else.
func TestTraceparent(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for name, tt := range map[string]struct{ value, want string }{
		"one":       {parent, parent},
		"none":      {"", ""},
		"long":      {parent + "-00", ""},
		"a header":  {"00\r\nX-Evil: 1", ""},
		"uppercase": {strings.ToUpper(parent), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, broker.Options{}, nil)
				topic := b.topic("topic")
				b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig()})
				b.publish(topic, &pubsubpb.PubsubMessage{Attributes: map[string]string{"traceparent": tt.value}})
				synctest.Wait()
				wantEqual(t, "traceparent", tt.want, b.seen[0].header.Get("traceparent"))
			})
		})
	}
}

// TestPushBackoff pushes to an endpoint that fails, on a virtual clock.
func TestPushBackoff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policy      *pubsubpb.RetryPolicy
		first, most time.Duration
	}{
		"of push":       {nil, 100 * time.Millisecond, time.Minute},
		"of the policy": {&pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Second), MaximumBackoff: durationpb.New(5 * time.Second)}, time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const failures = 14
				left := failures
				b := newBubble(t, broker.Options{}, func(pushed) int {
					if left--; left >= 0 {
						return []int{http.StatusFound, http.StatusBadRequest, http.StatusServiceUnavailable}[left%3]
					}
					return http.StatusAccepted
				})
				topic := b.topic("topic")
				b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig(), RetryPolicy: tt.policy})
				b.publish(topic, text("a"))
				after(24 * time.Hour)
				if len(b.seen) != failures+1 {
					t.Fatalf("%d pushes; want %d", len(b.seen), failures+1)
				}
				want := tt.first
				for i := range failures {
					got := b.seen[i+1].at - b.seen[i].at
					if got < max(want*8/10, tt.first) || got > min(want*12/10, tt.most) {
						t.Errorf("after failure %d: %s; want about %s", i+1, got, want)
					}
					want = min(2*want, tt.most)
				}
			})
		})
	}
}

// TestPushDeadLetter gives a message up after as many attempts as the policy says.
func TestPushDeadLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, func(p pushed) int {
			if p.data == "poison" {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		topic, dead := b.topic("topic"), b.topic("topic-dead-letter")
		b.sub(&pubsubpb.Subscription{Name: subName("dead"), Topic: dead})
		b.sub(&pubsubpb.Subscription{
			Name: subName("sub"), Topic: topic, PushConfig: pushConfig(),
			DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: dead, MaxDeliveryAttempts: 6},
		})
		b.publish(topic, &pubsubpb.PubsubMessage{Data: []byte("poison"), Attributes: map[string]string{"k": "v"}, OrderingKey: "key"}, text("good"))
		after(time.Hour)
		var attempts []int
		for _, p := range b.seen {
			if p.data == "poison" {
				attempts = append(attempts, p.attempt)
			}
		}
		wantEqual(t, "attempts", []int{1, 2, 3, 4, 5, 6}, attempts)
		got := b.pull(subName("dead"))
		if len(got) != 1 {
			t.Fatalf("%d dead letters", len(got))
		}
		m := got[0].GetMessage()
		wantEqual(t, "attributes", map[string]string{
			"k": "v",
			"CloudPubSubDeadLetterSourceDeliveryCount":       "6",
			"CloudPubSubDeadLetterSourceSubscription":        "sub",
			"CloudPubSubDeadLetterSourceSubscriptionProject": project,
			"CloudPubSubDeadLetterSourceTopicPublishTime":    "2000-01-01T00:00:00Z",
		}, m.GetAttributes())
		if string(m.GetData()) != "poison" || m.GetOrderingKey() != "key" || got[0].GetDeliveryAttempt() != 0 {
			t.Errorf("dead letter: %v", got[0])
		}
	})
}

// TestDeadLetterWaitsForItsTopic keeps what nobody takes.
func TestDeadLetterWaitsForItsTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, func(pushed) int { return http.StatusInternalServerError })
		topic, dead := b.topic("topic"), b.topic("dead")
		b.sub(&pubsubpb.Subscription{
			Name: subName("sub"), Topic: topic, PushConfig: pushConfig(),
			DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: dead},
		})
		if _, err := b.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: dead}); err != nil {
			t.Fatal(err)
		}
		b.publish(topic, text("a"))
		after(time.Hour)
		if n := len(b.seen); n < 10 {
			t.Errorf("%d pushes; given up without a dead-letter topic", n)
		}
		b.topic("dead")
		b.sub(&pubsubpb.Subscription{Name: subName("dead"), Topic: dead})
		after(time.Hour)
		if got := b.pull(subName("dead")); len(got) != 1 {
			t.Errorf("%d dead letters", len(got))
		}
	})
}

// TestPushKeepsOrder pushes one message of a key at a time, also when one fails.
func TestPushKeepsOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := false
		b := newBubble(t, broker.Options{}, func(p pushed) int {
			if p.data == "a2" && !failed {
				failed = true
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig(), EnableMessageOrdering: true})
		for _, data := range []string{"a1", "a2", "b1", "a3", "b2"} {
			b.publish(topic, &pubsubpb.PubsubMessage{Data: []byte(data), OrderingKey: data[:1]})
		}
		after(time.Minute)
		byKey := map[string][]string{}
		for _, data := range b.data() {
			byKey[data[:1]] = append(byKey[data[:1]], data)
		}
		wantEqual(t, "by key", map[string][]string{"a": {"a1", "a2", "a2", "a3"}, "b": {"b1", "b2"}}, byKey)
	})
}

// TestPushPoisonBlocksNobody keeps pushing while many messages fail.
func TestPushPoisonBlocksNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{PushConcurrency: 2}, func(p pushed) int {
			if p.data == "poison" {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig()})
		for range 50 {
			b.publish(topic, text("poison"))
		}
		after(time.Minute)
		before := time.Now()
		b.publish(topic, text("good"))
		for !slices.Contains(b.data(), "good") {
			after(10 * time.Millisecond)
		}
		if d := time.Since(before); d > time.Second {
			t.Errorf("a good message took %s", d)
		}
	})
}

// TestPushFilter pushes what the filter chooses.
func TestPushFilter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, nil)
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig(), Filter: `attributes.ce-type != "b" AND attributes:ce-type`})
		for _, kind := range []string{"a", "b", "c"} {
			b.publish(topic, &pubsubpb.PubsubMessage{Data: []byte(kind), Attributes: map[string]string{"ce-type": kind}})
		}
		b.publish(topic, text("none"))
		synctest.Wait()
		wantEqual(t, "pushed", []string{"a", "c"}, sorted(b.data()))
	})
}

// TestPushIsBounded counts the pushes that are under way.
func TestPushIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		b := newBubble(t, broker.Options{PushConcurrency: 3}, func(pushed) int {
			most.Store(max(most.Load(), now.Add(1)))
			pass(time.Second)
			now.Add(-1)
			return http.StatusOK
		})
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig()})
		for range 10 {
			b.publish(topic, text("a"))
		}
		after(time.Minute)
		if most.Load() != 3 || len(b.seen) != 10 {
			t.Errorf("%d at a time, %d pushes", most.Load(), len(b.seen))
		}
	})
}

// TestPushTimesOut gives an endpoint no longer than the ack deadline.
func TestPushTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		begin := time.Now()
		e := stuck(func() { times = append(times, time.Since(begin)) })
		b, err := broker.Open("", broker.Options{Now: time.Now, Transport: e, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		bb := &bubble{Broker: b, t: t}
		topic := bb.topic("topic")
		bb.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig(), AckDeadlineSeconds: 20})
		bb.publish(topic, text("a"))
		after(25 * time.Second)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if len(times) != 2 || times[1] < 20*time.Second || times[1] > 20*time.Second+150*time.Millisecond {
			t.Errorf("pushed at %v", times)
		}
	})
}

// stuck answers no request before its context ends.
type stuck func()

// RoundTrip waits.
func (s stuck) RoundTrip(r *http.Request) (*http.Response, error) {
	s()
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestRetention drops what nobody took in time.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, nil)
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, MessageRetentionDuration: durationpb.New(10 * time.Minute)})
		b.publish(topic, text("old"))
		after(9 * time.Minute)
		b.publish(topic, text("new"))
		after(2 * time.Minute)
		wantEqual(t, "left", []string{"new"}, dataOf(b.pull(subName("sub"))))
	})
}

// TestPullWaits waits for a message, and not for ever.
func TestPullWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, nil)
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic,
			RetryPolicy: &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(2 * time.Second), MaximumBackoff: durationpb.New(2 * time.Second)}})
		begin := time.Now()
		if got := b.pull(subName("sub")); len(got) != 0 || time.Since(begin) > time.Minute {
			t.Errorf("got %v after %s", got, time.Since(begin))
		}
		go func() {
			pass(5 * time.Second)
			b.publish(topic, text("a"))
		}()
		begin = time.Now()
		got := b.pull(subName("sub"))
		if len(got) != 1 || time.Since(begin) != 5*time.Second {
			t.Errorf("got %v after %s", got, time.Since(begin))
		}
		go func() {
			pass(time.Second)
			_, err := b.ModifyAckDeadline(t.Context(), &pubsubpb.ModifyAckDeadlineRequest{Subscription: subName("sub"), AckIds: []string{got[0].GetAckId()}})
			if err != nil {
				t.Error(err)
			}
		}()
		begin = time.Now()
		if again := b.pull(subName("sub")); len(again) != 1 || time.Since(begin) != 3*time.Second {
			t.Errorf("got %v after %s", again, time.Since(begin))
		}
	})
}

// TestDeletedWhileWaiting ends a pull from a subscription that goes.
func TestDeletedWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, nil)
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic})
		go func() {
			pass(time.Second)
			if _, err := b.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: subName("sub")}); err != nil {
				t.Error(err)
			}
		}()
		begin := time.Now()
		_, err := b.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: subName("sub"), MaxMessages: 1})
		if err == nil || time.Since(begin) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(begin))
		}
	})
}

// TestPushConfigChanges turns push off and on again.
func TestPushConfigChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, broker.Options{}, nil)
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig()})
		set := func(c *pubsubpb.PushConfig) {
			if _, err := b.ModifyPushConfig(t.Context(), &pubsubpb.ModifyPushConfigRequest{Subscription: subName("sub"), PushConfig: c}); err != nil {
				t.Fatal(err)
			}
		}
		b.publish(topic, text("1"))
		synctest.Wait()
		set(nil)
		b.publish(topic, text("2"))
		after(time.Minute)
		wantEqual(t, "while off", []string{"1"}, b.data())
		set(pushConfig())
		synctest.Wait()
		wantEqual(t, "while on", []string{"1", "2"}, b.data())
	})
}

// TestPushCutOff gives what was being pushed to whoever pulls then.
func TestPushCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := broker.Open("", broker.Options{Now: time.Now, Transport: stuck(func() {})})
		if err != nil {
			t.Fatal(err)
		}
		bb := &bubble{Broker: b, t: t}
		topic := bb.topic("topic")
		bb.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig()})
		bb.publish(topic, text("a"))
		synctest.Wait()
		if _, err := b.ModifyPushConfig(t.Context(), &pubsubpb.ModifyPushConfigRequest{Subscription: subName("sub")}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		wantEqual(t, "pulled", []string{"a"}, dataOf(bb.pull(subName("sub"))))
		if d := time.Since(begin); d > time.Second {
			t.Errorf("after %s", d)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRedirect takes a redirect for a failure and follows it nowhere.
func TestRedirect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var paths []string
		b, err := broker.Open("", broker.Options{Now: time.Now, Transport: handlerFunc(func(w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.URL.Path)
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		})})
		if err != nil {
			t.Fatal(err)
		}
		bb := &bubble{Broker: b, t: t}
		topic := bb.topic("topic")
		bb.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: pushConfig()})
		bb.publish(topic, text("a"))
		after(time.Second)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if len(paths) < 2 || slices.Contains(paths, "/elsewhere") {
			t.Errorf("pushed to %v", paths)
		}
	})
}

// TestDeletedWhilePushing acknowledges a message for a subscription that is no more. Others keep it.
func TestDeletedWhilePushing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b *bubble
		b = newBubble(t, broker.Options{}, func(pushed) int {
			if _, err := b.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: subName("gone")}); err != nil {
				t.Error(err)
			}
			return http.StatusOK
		})
		topic := b.topic("topic")
		b.sub(&pubsubpb.Subscription{Name: subName("gone"), Topic: topic, PushConfig: pushConfig()})
		b.sub(&pubsubpb.Subscription{Name: subName("sub"), Topic: topic})
		b.publish(topic, text("a"))
		after(time.Second)
		wantEqual(t, "left to the other", []string{"a"}, dataOf(b.pull(subName("sub"))))
	})
}

// TestLoopbackTransport connects to this machine alone, wherever a name leads.
func TestLoopbackTransport(t *testing.T) {
	t.Parallel()
	var logs safeBuffer
	b := open(t, "", broker.Options{
		Endpoint: func(*url.URL) error { return nil }, // so that the transport alone is in the way
		Logger:   slog.New(slog.NewTextHandler(&logs, nil)),
	})
	client := clientOf(t, b)
	topic := createTopic(t, client, "topic")
	createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: &pubsubpb.PushConfig{PushEndpoint: "http://192.0.2.1:9/"}})
	publish(t, client, topic, text("a"))
	deadline := time.After(patience)
	for !strings.Contains(logs.String(), "is not this machine") {
		select {
		case <-logs.written():
		case <-deadline:
			t.Fatalf("logs: %s", logs.String())
		}
	}
}

// safeBuffer is a buffer that can be waited on.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
	next chan struct{}
}

// Write appends and wakes who waits.
func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
	return s.text.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// written is closed with the next write. What was written before is there.
func (s *safeBuffer) written() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

// TestPushRate pushes thousands of messages over real connections and says how fast.
func TestPushRate(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"memory": "", "disk": filepath.Join(t.TempDir(), "pubsub.db")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			measurePush(t, path)
		})
	}
}

func measurePush(t *testing.T, path string) {
	const count = 5000
	var mu sync.Mutex
	seen := make(map[string]int)
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		if seen[r.Header.Get("ce-id")]++; len(seen) == count {
			select {
			case <-all:
			default:
				close(all)
			}
		}
	}))
	t.Cleanup(server.Close)
	client := clientOf(t, open(t, path, broker.Options{}))
	topic := createTopic(t, client, "topic")
	createSub(t, client, &pubsubpb.Subscription{Name: subName("sub"), Topic: topic, PushConfig: &pubsubpb.PushConfig{PushEndpoint: server.URL}})
	begin := time.Now()
	var group sync.WaitGroup
	var failed atomic.Value
	for w := range 50 {
		group.Go(func() {
			for i := range count / 50 {
				_, err := client.TopicAdminClient.Publish(context.WithoutCancel(t.Context()), &pubsubpb.PublishRequest{
					Topic: topic, Messages: []*pubsubpb.PubsubMessage{text(fmt.Sprintf("%d-%d", w, i))}})
				if err != nil {
					failed.Store(err)
				}
			}
		})
	}
	group.Wait()
	if err, ok := failed.Load().(error); ok && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case <-all:
	case <-time.After(2 * patience):
		t.Fatalf("%d of %d messages pushed", len(seen), count)
	}
	took := time.Since(begin)
	t.Logf("%d messages published one by one and pushed in %s: %.0f/s", count, took, count/took.Seconds())
	mu.Lock()
	defer mu.Unlock()
	for id, n := range seen {
		if n != 1 {
			t.Errorf("message %s was pushed %d times", id, n)
		}
	}
}
