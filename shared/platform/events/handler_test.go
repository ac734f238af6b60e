package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store"
)

func TestMain(m *testing.M) {
	// OpenCensus, which the Pub/Sub client counts with, starts a goroutine when it is linked.
	goleak.VerifyTestMain(stopEmulator{m}, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// bench is a handler with all that shows what it did.
type bench struct {
	handler http.Handler
	metrics *telemetry.Metrics
	logs    *logs
}

type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// line returns the first line with a message.
func (l *logs) line(t *testing.T, message string) map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.text.Bytes()) {
		var found map[string]any
		if err := json.Unmarshal(line, &found); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if found["message"] == message {
			return found
		}
	}
	return nil
}

func newBench(h events.HandlerFunc, change func(*events.Options)) *bench {
	b := &bench{metrics: telemetry.NewMetrics(), logs: new(logs)}
	o := events.Options{
		Function: "RegisterCommand", Now: func() time.Time { return noon },
		Logger:  telemetry.NewLogger(b.logs, telemetry.LogOptions{Level: slog.LevelDebug, Service: "isectech-register"}),
		Metrics: b.metrics.ForFunction("RegisterCommand", events.Types()...),
	}
	if change != nil {
		change(&o)
	}
	b.handler = events.Handler(h, o)
	return b
}

func (b *bench) deliver(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w
}

// counted reports whether one event, and no other, was counted with a result.
func (b *bench) counted(t *testing.T, eventType, result string) {
	t.Helper()
	w := httptest.NewRecorder()
	b.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	want := fmt.Sprintf("events_total{function=\"RegisterCommand\",result=%q,type=%q} 1\n", result, eventType)
	if text := w.Body.String(); !strings.Contains(text, want) || strings.Count(text, "\nevents_total{") != 1 {
		t.Errorf("no %s in\n%s", want, text)
	}
}

func message(t *testing.T, e events.Event) *http.Request {
	t.Helper()
	r, err := eventstest.Push(events.TopicRegistryCommands, e, "1", noon)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHandlerAnswers(t *testing.T) {
	t.Parallel()
	inside := errors.New("password of the database")
	extra := errors.New("cache down")
	for name, tt := range map[string]struct {
		err    error
		status int
		result string
		level  string // of the line that says it was dropped
	}{
		"done":                  {nil, 204, "handled", ""},
		"poison":                {fmt.Errorf("register: %w", events.Poison("no such environment")), 204, "poison", "ERROR"},
		"stale":                 {fmt.Errorf("register: %w", events.ErrStale), 204, "stale", "WARN"},
		"duplicate":             {fmt.Errorf("commit: %w", store.ErrDuplicate), 204, "duplicate", "INFO"},
		"unauthenticated":       {fmt.Errorf("%w: %w", events.ErrUnauthenticated, auth.Refuse(auth.Expired, "")), 204, "unauthenticated", "WARN"},
		"store unavailable":     {fmt.Errorf("get: %w", store.ErrUnavailable), 503, "unavailable", ""},
		"unavailable":           {events.ErrUnavailable, 503, "unavailable", ""},
		"known unavailable":     {extra, 503, "unavailable", ""},
		"policy unavailable":    {auth.Refuse(auth.PolicyUnavailable, ""), 503, "unavailable", ""},
		"deadline":              {fmt.Errorf("get: %w", context.DeadlineExceeded), 503, "unavailable", ""},
		"poison, perhaps":       {errors.Join(events.ErrPoison, store.ErrUnavailable), 503, "unavailable", ""},
		"unknown":               {inside, 500, "failed", ""},
		"invalid":               {store.ErrInvalid, 500, "failed", ""},
		"an answer for callers": {httpx.NotFound("nothing"), 500, "failed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(func(context.Context, events.Delivery) error { return tt.err },
				func(o *events.Options) { o.Unavailable = []error{extra} })
			w := b.deliver(message(t, command()))
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if strings.Contains(w.Body.String(), "password") || w.Code == 204 && w.Body.Len() > 0 {
				t.Errorf("body %s", w.Body)
			}
			b.counted(t, events.TypeHeartbeat, tt.result)
			dropped := b.logs.line(t, "event dropped")
			if level, _ := dropped["level"].(string); level != tt.level {
				t.Errorf("dropped at level %q, want %q", level, tt.level)
			}
			if dropped != nil && (dropped["event_id"] != "7f0c" || dropped["event_type"] != events.TypeHeartbeat ||
				dropped["event_source"] != "//isectech.com/services/backend-services-001" || dropped["result"] != tt.result || dropped["reason"] == "") {
				t.Errorf("record %v", dropped)
			}
			if failed := b.logs.line(t, "request failed"); (failed != nil) != (tt.status >= 500) {
				t.Errorf("failure logged as %v", failed)
			}
		})
	}
}

func TestHandlerDropsPoison(t *testing.T) {
	t.Parallel()
	b := newBench(func(context.Context, events.Delivery) error {
		t.Error("poison was handled")
		return nil
	}, nil)
	w := b.deliver(delivery(jsonType, attributed(`,"ce-time":"never"`)))
	if w.Code != 204 {
		t.Errorf("status %d", w.Code)
	}
	b.counted(t, "other", "poison")
	line := b.logs.line(t, "event dropped")
	if line["level"] != "ERROR" || line["event_id"] != "a" || line["event_source"] != "b" || line["event_type"] != "c" ||
		line["message_id"] != "1" || !strings.Contains(fmt.Sprint(line["reason"]), "time") || line["function"] != "RegisterCommand" {
		t.Errorf("record %v", line)
	}
}

func TestHandlerPanics(t *testing.T) {
	t.Parallel()
	b := newBench(func(context.Context, events.Delivery) error { panic("out of the blue") }, nil)
	if w := b.deliver(message(t, command())); w.Code != 500 || strings.Contains(w.Body.String(), "blue") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b.counted(t, events.TypeHeartbeat, "failed")
	if line := b.logs.line(t, "panic"); line["panic"] != "out of the blue" || line["event_id"] != "7f0c" {
		t.Errorf("log %v", line)
	}
}

func TestHandlerWantsPost(t *testing.T) {
	t.Parallel()
	b := newBench(nil, nil)
	if w := b.deliver(httptest.NewRequest(http.MethodGet, "/", nil)); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// The scope of what is logged is the event's.
func TestHandlerScope(t *testing.T) {
	t.Parallel()
	const trace, outerTrace = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
	for name, tt := range map[string]struct {
		id, trace string
		fits      bool
		want      string
	}{
		"the event's":           {"7f0c", parent, true, trace},
		"an id that cannot be":  {"backend-services-001@7", parent, false, trace},
		"the request's trace":   {"7f0c", "", true, outerTrace},
		"a trace that is wrong": {"7f0c", "00-0-0-0", true, outerTrace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got events.Event
			b := newBench(func(ctx context.Context, d events.Delivery) error {
				got = d.Event
				if got.RequestID != httpx.RequestID(ctx) {
					t.Errorf("request id %q in the event, %q in the scope", got.RequestID, httpx.RequestID(ctx))
				}
				if _, ok := ctx.Deadline(); !ok {
					t.Error("no deadline")
				}
				return nil
			}, nil)
			e := command()
			e.ID, e.Trace = tt.id, tt.trace
			r := message(t, e)
			r.Header.Set("Traceparent", outer)
			r.Header.Set("X-Request-Id", "from-outside")
			if w := b.deliver(r); w.Code != 204 {
				t.Fatal(w.Code)
			}
			if fits := got.RequestID == tt.id; fits != tt.fits || got.RequestID == "" || got.RequestID == "from-outside" {
				t.Errorf("request id %q", got.RequestID)
			}
			line := b.logs.line(t, "request")
			if line["request_id"] != got.RequestID || line["logging.googleapis.com/trace"] != tt.want || line["event_id"] != tt.id {
				t.Errorf("log %v", line)
			}
			if strings.Contains(b.logs.text.String(), "a.b.c") {
				t.Error("the token is in the log")
			}
		})
	}
}

// Headers that a request would be refused for are no reason to have an event delivered for ever.
func TestHandlerHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(func(context.Context, events.Delivery) error { return nil }, nil)
	r := message(t, command())
	r.Header["X-Forwarded-For"] = []string{"\x85"}
	for i := range 200 {
		r.Header.Add("X-Filler", fmt.Sprint(i))
	}
	if w := b.deliver(r); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b.counted(t, events.TypeHeartbeat, "handled")

	b = newBench(nil, nil)
	r = delivery(jsonType+"\nX-Request-Id: from-outside\nX-Cloud-Trace-Context: 0af7651916cd43dd8448eb211c80319c/1;o=1", "{}")
	if w := b.deliver(r); w.Code != 204 || w.Header().Get("X-Request-Id") == "from-outside" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if line := b.logs.line(t, "event dropped"); line["logging.googleapis.com/trace"] != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("log %v", line)
	}
}

func TestHandlerAge(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Minute
	for name, tt := range map[string]struct {
		happened, published time.Duration // before now
		result              string
	}{
		"new":                      {0, 0, "handled"},
		"at the limit":             {limit, limit, "handled"},
		"past the limit":           {limit + time.Millisecond, 0, "stale"},
		"published long ago":       {0, limit + time.Millisecond, "stale"},
		"ahead, as clocks are":     {-events.DefaultSkew, 0, "handled"},
		"from the future":          {-events.DefaultSkew - time.Millisecond, 0, "poison"},
		"waiting since long":       {24 * time.Hour, 24 * time.Hour, "stale"},
		"of a message in a hurry":  {0, -time.Hour, "handled"}, // the server's clock is the server's affair
		"published before it was?": {0, time.Minute, "handled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(func(context.Context, events.Delivery) error { return nil },
				func(o *events.Options) { o.MaxAge = limit })
			e := command()
			e.Time = noon.Add(-tt.happened)
			r, err := eventstest.Push(events.TopicRegistryCommands, e, "1", noon.Add(-tt.published))
			if err != nil {
				t.Fatal(err)
			}
			if w := b.deliver(r); w.Code != 204 {
				t.Errorf("status %d", w.Code)
			}
			b.counted(t, events.TypeHeartbeat, tt.result)
		})
	}
}

// What takes longer than its deadline is delivered again.
func TestHandlerDeadline(t *testing.T) {
	t.Parallel()
	b := newBench(func(ctx context.Context, _ events.Delivery) error {
		<-ctx.Done()
		return errors.New("gave up")
	}, func(o *events.Options) { o.Timeout = 20 * time.Millisecond })
	if w := b.deliver(message(t, command())); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	b.counted(t, events.TypeHeartbeat, "unavailable")
}

// A body that does not come in is no poison.
func TestHandlerSlowBody(t *testing.T) {
	t.Parallel()
	b := newBench(nil, func(o *events.Options) { o.Timeout = 50 * time.Millisecond })
	server := httptest.NewServer(b.handler)
	defer server.Close()
	body, never := io.Pipe()
	defer never.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 503 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// Two thousand at once are all answered, each with its own.
func TestHandlerConcurrency(t *testing.T) {
	t.Parallel()
	const deliveries, workers = 2000, 64
	var handled sync.Map
	b := newBench(func(_ context.Context, d events.Delivery) error {
		if d.Event.Subject != "of-"+d.Event.ID || string(d.Event.Data) != `{"id":"`+d.Event.ID+`"}` {
			return fmt.Errorf("fields of another: %+v", d.Event)
		}
		if _, twice := handled.LoadOrStore(d.Event.ID, true); twice {
			return errors.New("twice")
		}
		return nil
	}, nil)
	server := httptest.NewServer(b.handler)
	defer server.Close()
	client := server.Client()
	client.Transport = &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var next, answered atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				n := next.Add(1)
				if n > deliveries {
					return
				}
				e := command()
				e.ID = fmt.Sprint("e", n)
				e.Subject, e.Data = "of-"+e.ID, []byte(`{"id":"`+e.ID+`"}`)
				r, err := eventstest.Eventarc(events.TopicRegistryCommands, e, fmt.Sprint(n), noon) //nolint:contextcheck // it gets one below
				if err != nil {
					t.Error(err)
					return
				}
				r = r.WithContext(ctx)
				r.URL.Host = strings.TrimPrefix(server.URL, "http://")
				res, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = res.Body.Close()
				if res.StatusCode == http.StatusNoContent {
					answered.Add(1)
				}
			}
		})
	}
	group.Wait()
	if got := answered.Load(); got != deliveries {
		t.Errorf("%d of %d were handled", got, deliveries)
	}
}
