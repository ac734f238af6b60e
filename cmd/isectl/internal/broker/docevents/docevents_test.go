package docevents_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/proto"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/docevents"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
)

func TestMain(m *testing.M) { os.Exit(emulatortest.Main(m)) }

const project = "local"

var one = store.Ref{Collection: store.Services, ID: "one"}

// delivery is what an endpoint was sent.
type delivery struct {
	at     time.Time
	path   string
	header http.Header
	body   []byte
	data   *firestoredata.DocumentEventData
}

// what returns what happened, in short.
func (d delivery) what() string {
	ref := d.header.Get("ce-document")
	_, id, _ := strings.Cut(ref, "/")
	return fmt.Sprintf("%s %d→%d", id, generation(d.data.GetOldValue()), generation(d.data.GetValue()))
}

func generation(d *firestoredata.Document) int64 {
	return d.GetFields()["generation"].GetIntegerValue()
}

// bench is a store with an emitter whose events end in the test's own process.
type bench struct {
	t    testing.TB
	path string
	db   *boltstore.DB

	answer func(d delivery) int
	mu     sync.Mutex
	seen   []delivery

	stop context.CancelFunc
	done chan error
}

func newBench(t testing.TB, answer func(d delivery) int) *bench {
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "store.db"), answer: answer}
	b.open()
	t.Cleanup(func() { _ = b.db.Close() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.db, err = boltstore.Open(b.path, boltstore.Options{Now: time.Now, Log: []string{store.Services, store.Leases}}); err != nil {
		b.t.Fatal(err)
	}
}

// RoundTrip implements http.RoundTripper.
func (b *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	d := delivery{at: time.Now(), path: r.URL.Path, header: r.Header, data: new(firestoredata.DocumentEventData)}
	var err error
	if d.body, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(d.body, d.data); err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.seen = append(b.seen, d)
	b.mu.Unlock()
	w := httptest.NewRecorder()
	w.WriteHeader(http.StatusNoContent)
	resp := w.Result()
	if b.answer != nil {
		resp.StatusCode = b.answer(d)
	}
	return resp, nil
}

// deliveries returns what has been sent so far.
func (b *bench) deliveries() []delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// forget returns what has been sent so far, and begins anew.
func (b *bench) forget() []delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	b.seen = nil
	return seen
}

// run starts the emitter.
func (b *bench) run(triggers ...docevents.Trigger) {
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.WithoutCancel(b.t.Context()))
	b.done = make(chan error, 1)
	go func() {
		b.done <- docevents.Run(ctx, docevents.Options{
			Log: b.db, Now: time.Now, Project: project, Client: &http.Client{Transport: b}, Triggers: triggers,
			Header: func(h http.Header) { h.Set("X-Marker", "m") }, Logger: slog.New(slog.DiscardHandler),
		})
	}()
}

// end stops the emitter.
func (b *bench) end() {
	b.t.Helper()
	b.stop()
	if err := <-b.done; err != nil {
		b.t.Error(err)
	}
}

func (b *bench) commit(ref store.Ref, data any) store.Document {
	b.t.Helper()
	docs, err := b.db.Commit(b.t.Context(), store.Batch{Actor: "me", Cause: "test", Writes: []store.Write{{Ref: ref, Data: data}}})
	if err != nil {
		b.t.Fatal(err)
	}
	return docs[0]
}

func (b *bench) whats() []string {
	var out []string
	for _, d := range b.deliveries() {
		out = append(out, d.what())
	}
	return out
}

// left returns how many records the log still has.
func (b *bench) left() int {
	b.t.Helper()
	records, err := b.db.ReadLog(b.t.Context(), 0, 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	return len(records)
}

func service(id string) store.Ref { return store.Ref{Collection: store.Services, ID: id} }

var toServices = docevents.Trigger{Collection: store.Services, Endpoint: "http://functions.test/RegistryChanged"}

// after lets virtual time pass and all that happens by then happen.
func after(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

func wantEqual[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestLifeOfADocument follows a document from its making to the time when nothing is left of it.
func TestLifeOfADocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.run(toServices)
		docs := []store.Document{
			b.commit(one, map[string]any{"n": 1, "deep": map[string]any{"a": 1, "b b": 2}}),
			b.commit(one, map[string]any{"n": 1.5, "deep": map[string]any{"a": 1, "b b": 3}, "new": nil}),
			b.commit(one, nil),
			b.commit(one, map[string]any{"n": 4}),
			b.commit(one, nil),
		}
		after(25 * time.Hour)
		if removed, err := b.db.Sweep(t.Context()); err != nil || removed != 1 {
			t.Fatalf("swept %d, %v", removed, err)
		}
		after(time.Second)
		b.end()
		wantEqual(t, "events", []string{"one 0→1", "one 1→2", "one 2→3", "one 3→4", "one 4→5", "one 5→0"}, b.whats())
		masks := [][]string{
			nil,
			{"deep.`b b`", "generation", "head", "n", "new", "updated_at"},
			{"deep", "deleted", "expires_at", "generation", "head", "n", "new", "updated_at"},
			{"deleted", "expires_at", "generation", "head", "n", "updated_at"},
			{"deleted", "expires_at", "generation", "head", "n", "updated_at"},
			nil,
		}
		ids := map[string]bool{}
		for i, d := range b.deliveries() {
			ids[d.header.Get("ce-id")] = true
			// All five commits fall into one millisecond of virtual time.
			mask := slices.DeleteFunc(masks[i], func(name string) bool { return name == "updated_at" })
			wantEqual(t, fmt.Sprint("mask of event ", i), mask, d.data.GetUpdateMask().GetFieldPaths())
			for side, doc := range map[string]*firestoredata.Document{"value": d.data.GetValue(), "old value": d.data.GetOldValue()} {
				if doc == nil {
					continue
				}
				of := docs[generation(doc)-1]
				if !doc.GetUpdateTime().AsTime().Equal(of.UpdatedAt) || !doc.GetCreateTime().AsTime().Equal(docs[0].UpdatedAt) {
					t.Errorf("event %d, %s: created %v, updated %v", i, side, doc.GetCreateTime().AsTime(), doc.GetUpdateTime().AsTime())
				}
				if doc.GetFields()["deleted"].GetBooleanValue() != of.Deleted || doc.GetName() != "projects/local/databases/(default)/documents/services/one" {
					t.Errorf("event %d, %s: %v", i, side, doc)
				}
			}
		}
		if len(ids) != 6 {
			t.Errorf("%d ids of 6 events", len(ids))
		}
		if n := b.left(); n > 0 {
			t.Errorf("%d records are left", n)
		}
		header := b.deliveries()[1].header.Clone()
		header.Del("ce-id")
		want := http.Header{}
		for name, value := range map[string]string{
			"Content-Type": "application/protobuf", "X-Marker": "m", "ce-specversion": "1.0",
			"ce-type":   "google.cloud.firestore.document.v1.written",
			"ce-source": "//firestore.googleapis.com/projects/local/databases/(default)", "ce-subject": "documents/services/one",
			"ce-time": docs[1].UpdatedAt.Format(time.RFC3339Nano), "ce-document": "services/one", "ce-project": "local",
			"ce-database": "(default)", "ce-namespace": "(default)", "ce-location": "us-central1",
			"ce-dataschema": "https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/firestore/v1/data.proto",
		} {
			want.Set(name, value)
		}
		wantEqual(t, "header", want, header)
	})
}

// TestDecode gives the events to what the functions read them with.
func TestDecode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.run(toServices)
		made := b.commit(one, map[string]any{"n": 1, "list": []any{1.5, "x"}})
		changed := b.commit(one, map[string]any{"n": 2})
		gone := b.commit(one, nil)
		after(time.Second)
		b.end()
		var got []events.Change
		for _, d := range b.deliveries() {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(d.body)))
			r.Header = d.header
			read, err := events.Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			read.Change.EventID = ""
			got = append(got, *read.Change)
		}
		const source = "//firestore.googleapis.com/projects/local/databases/(default)"
		wantEqual(t, "changes", []events.Change{
			{Ref: one, Generation: 1, UpdatedBy: "me", After: &made, Source: source, Time: made.UpdatedAt},
			{Ref: one, Generation: 2, UpdatedBy: "me", Before: &made, After: &changed, Source: source, Time: changed.UpdatedAt},
			{Ref: one, Generation: 3, UpdatedBy: "me", Before: &changed, Source: source, Time: gone.UpdatedAt},
		}, got)
	})
}

// TestPoison lets one document's events fail, and then no more.
func TestPoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cured atomic.Bool
		b := newBench(t, func(d delivery) int {
			if !cured.Load() && strings.HasPrefix(d.what(), "bad") {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		b.run(toServices)
		b.commit(service("bad"), map[string]any{"n": 1})
		b.commit(service("bad"), map[string]any{"n": 2})
		for i := range 50 {
			b.commit(service(fmt.Sprint("good", i)), map[string]any{})
		}
		after(time.Second)
		good, tries := 0, 0
		for _, what := range b.whats() {
			switch {
			case strings.HasPrefix(what, "good"):
				good++
			case what == "bad 0→1":
				tries++
			default:
				t.Errorf("%s before its turn", what)
			}
		}
		if good != 50 || tries < 3 {
			t.Errorf("%d events of other documents, %d tries", good, tries)
		}
		if n := b.left(); n != 2 {
			t.Errorf("%d records are left; want the two that failed", n)
		}
		var gaps []time.Duration
		after(10 * time.Minute)
		var last delivery
		for _, d := range b.deliveries() {
			if d.what() == "bad 0→1" {
				if last.data != nil {
					gaps = append(gaps, d.at.Sub(last.at))
					if d.header.Get("ce-id") != last.header.Get("ce-id") || string(d.body) != string(last.body) {
						t.Error("another event when sent again")
					}
				}
				last = d
			}
		}
		for i, want := 0, 100*time.Millisecond; i < len(gaps); i++ {
			if gaps[i] < want*8/10 || gaps[i] > want*12/10 {
				t.Errorf("after failure %d: %s; want about %s", i+1, gaps[i], want)
			}
			want = min(2*want, time.Minute)
		}
		cured.Store(true)
		after(2 * time.Minute)
		b.end()
		whats := b.whats()
		wantEqual(t, "the end", []string{"bad 0→1", "bad 1→2"}, whats[len(whats)-2:])
		if n := b.left(); n > 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

// TestRestart sends what was not answered when the process ended, and nothing else, under the same ids.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cured atomic.Bool
		b := newBench(t, func(d delivery) int {
			if !cured.Load() && strings.HasPrefix(d.what(), "late") {
				return http.StatusServiceUnavailable
			}
			return http.StatusOK
		})
		b.run(toServices)
		b.commit(service("late"), map[string]any{})
		b.commit(service("early"), map[string]any{})
		after(time.Second)
		b.end()
		b.commit(service("meanwhile"), map[string]any{}) // nobody is there
		if err := b.db.Close(); err != nil {
			t.Fatal(err)
		}
		cured.Store(true)
		before := b.forget()
		b.open()
		b.run(toServices)
		after(time.Second)
		b.end()
		whats := b.whats()
		slices.Sort(whats)
		wantEqual(t, "after the restart", []string{"late 0→1", "meanwhile 0→1"}, whats)
		for _, d := range slices.Concat(before, b.deliveries()) {
			if d.what() == "late 0→1" && d.header.Get("ce-id") != before[0].header.Get("ce-id") && before[0].what() == "late 0→1" {
				t.Error("another id when sent again")
			}
		}
	})
}

// TestTriggers sends each collection's events where they are wanted; what nobody wants does not stay.
func TestTriggers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var cured atomic.Bool
		b := newBench(t, func(d delivery) int {
			if !cured.Load() && d.path == "/B" {
				return http.StatusBadGateway
			}
			return http.StatusOK
		})
		b.run(docevents.Trigger{Collection: store.Services, Endpoint: "http://functions.test/A"},
			docevents.Trigger{Collection: store.Services, Endpoint: "http://functions.test/B"})
		b.commit(store.Ref{Collection: store.Leases, ID: "x"}, map[string]any{})
		b.commit(one, map[string]any{})
		after(time.Second)
		paths := map[string]bool{}
		for _, d := range b.deliveries() {
			paths[d.path+" "+d.what()] = true
		}
		wantEqual(t, "sent", map[string]bool{"/A one 0→1": true, "/B one 0→1": true}, paths)
		if n := b.left(); n != 1 {
			t.Errorf("%d records are left; want the one that /B has not taken", n)
		}
		cured.Store(true)
		after(time.Minute)
		b.end()
		if n := b.left(); n > 0 {
			t.Errorf("%d records are left", n)
		}
		n := 0
		for _, d := range b.deliveries() {
			if d.path == "/A" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("/A was sent the event %d times", n)
		}
	})
}

// TestTooOld gives an event up after a day.
func TestTooOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(delivery) int { return http.StatusInternalServerError })
		b.run(toServices)
		b.commit(one, map[string]any{"n": 1})
		after(23 * time.Hour)
		if b.left() != 1 {
			t.Error("given up too early")
		}
		after(2 * time.Hour)
		b.end()
		if n := b.left(); n > 0 {
			t.Errorf("%d records are left", n)
		}
	})
}

// brokenLog fails as it is told.
type brokenLog struct {
	docevents.Log
	read, trim error
}

// ReadLog fails, or reads.
func (b brokenLog) ReadLog(ctx context.Context, after uint64, limit int) ([]boltstore.LogRecord, error) {
	if b.read != nil {
		return nil, b.read
	}
	return b.Log.ReadLog(ctx, after, limit)
}

// TrimLog fails, or trims.
func (b brokenLog) TrimLog(ctx context.Context, seqs ...uint64) error {
	if b.trim != nil {
		return b.trim
	}
	return b.Log.TrimLog(ctx, seqs...)
}

// TestBrokenLog ends with the log.
func TestBrokenLog(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, log := range map[string]brokenLog{"read": {read: broken}, "trim": {trim: broken}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.commit(one, map[string]any{})
				log.Log = b.db
				err := docevents.Run(t.Context(), docevents.Options{
					Log: log, Now: time.Now, Project: project, Client: &http.Client{Transport: b}, Triggers: []docevents.Trigger{toServices},
				})
				if !errors.Is(err, broken) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
	if err := docevents.Run(t.Context(), docevents.Options{}); err == nil {
		t.Error("runs with nothing")
	}
}
