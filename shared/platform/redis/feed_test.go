package redis_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// feed is a decorator whose clock stands still.
type feed struct {
	*rediscache.Store
	server *redistest.Server
	clock  *storetest.Clock
	cable  *cable
	inner  store.Store
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	f := &feed{server: redistest.Start(t), clock: new(storetest.Clock)}
	f.cable = &cable{Client: open(t, f.server, roomy())}
	f.inner = storetest.New(t, f.clock.Now)
	f.Store = rediscache.New(f.inner, f.cable, rediscache.Options{Now: f.clock.Now, Environments: environments})
	return f
}

// set writes or, with an empty environment, deletes.
func (f *feed) set(t *testing.T, id, environment string) store.Document {
	t.Helper()
	w := store.Write{Ref: store.Ref{Collection: store.Services, ID: id}}
	if environment != "" {
		w.Data = map[string]any{"environment": environment}
	}
	docs, err := f.Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: "test", Cause: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return docs[0]
}

// begun gives the feed of production an index: one that is made anew has none until a second is over.
func (f *feed) begun(t *testing.T) store.Position {
	t.Helper()
	f.set(t, "first", "production")
	if _, err := f.Index(t.Context(), "production"); !errors.Is(err, rediscache.ErrUnknown) {
		t.Errorf("index of a feed that was just made: %v", err)
	}
	f.clock.Advance(2 * time.Second)
	at := f.set(t, "first", "production").Position()
	f.wantIndex(t, at)
	return at
}

func (f *feed) wantIndex(t *testing.T, want store.Position) {
	t.Helper()
	var got store.Position
	var err error
	eventually(t, fmt.Sprintf("the index is %d", want), func() bool {
		got, err = f.Index(t.Context(), "production")
		return err == nil && got == want
	})
}

func (f *feed) wantUnknown(t *testing.T, environment string) {
	t.Helper()
	eventually(t, "the index of "+environment+" is unknown", func() bool {
		_, err := f.Index(t.Context(), environment)
		return errors.Is(err, rediscache.ErrUnknown)
	})
}

func (f *feed) wantChanges(t *testing.T, since store.Position, want ...string) {
	t.Helper()
	got, _, err := f.ChangedSince(t.Context(), "production", since, 100)
	if err != nil {
		t.Errorf("changes: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes since %d (-want +got):\n%s", since, diff)
	}
}

func TestFeed(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	start := f.begun(t)
	f.wantChanges(t, start, []string{}...)
	a := f.set(t, "a", "production")
	b := f.set(t, "b", "production")
	f.wantIndex(t, b.Position())
	f.wantChanges(t, start, "a", "b")
	f.wantChanges(t, a.Position(), "b")
	a = f.set(t, "a", "production")
	f.wantIndex(t, a.Position())
	f.wantChanges(t, start, "b", "a")
	f.wantUnknown(t, "staging")

	// A deletion has no environment to be seen by, so all learn of it.
	gone := f.set(t, "b", "")
	f.wantIndex(t, gone.Position())
	f.wantChanges(t, a.Position(), "b")
	if got := f.server.Do("ZSCORE", "registry:staging:changes", "b"); got == "" {
		t.Error("staging does not learn of a deletion")
	}
	if got := f.server.Do("ZSCORE", "registry:staging:changes", "a"); got != "" {
		t.Error("staging learns of what is not its own")
	}

	// What has no effect changes nothing, and leaves the index as it was.
	_, err := f.Commit(t.Context(), store.Batch{
		Writes: []store.Write{{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{"environment": "production"}, If: store.AtGeneration(99)}},
		Actor:  "test", Cause: "test",
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	f.wantIndex(t, gone.Position())
	f.wantChanges(t, a.Position(), "b")

	if _, _, err := f.ChangedSince(t.Context(), "production", start, 1); !errors.Is(err, rediscache.ErrUnknown) {
		t.Errorf("more changes than wanted: %v", err)
	}
	if _, _, err := f.ChangedSince(t.Context(), "production", 0, 100); !errors.Is(err, rediscache.ErrUnknown) {
		t.Errorf("since before the feed: %v", err)
	}
}

// TestFeedOfWriterWhoDied has a writer that entered and was not heard of again: until its change is told of by
// others there is no index, rather than one that does not contain it.
func TestFeedOfWriterWhoDied(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	start := f.begun(t)
	inner := storetest.NewFaulty(f.inner)
	inner.LoseAnswer(1, store.ErrUnavailable)
	dying := rediscache.New(inner, f.cable, rediscache.Options{Now: f.clock.Now, Environments: environments})
	w := store.Write{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{"environment": "production"}}
	if _, err := dying.Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: "test", Cause: "test"}); err == nil {
		t.Fatal("the writer is alive")
	}
	f.wantUnknown(t, "production")
	if _, _, err := f.ChangedSince(t.Context(), "production", start, 100); !errors.Is(err, rediscache.ErrUnknown) {
		t.Errorf("changes while a writer is on its way: %v", err)
	}
	f.set(t, "b", "production")
	f.wantUnknown(t, "production")
	eventually(t, "the entry has expired", func() bool { return f.server.Do("EXISTS", "registry:production:writers") == "0" })
	b := f.set(t, "b", "production")
	f.wantIndex(t, b.Position())
	doc, err := inner.Get(t.Context(), w.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Observe(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	f.wantChanges(t, start, "a", "b")
}

// TestFeedAfterLoss empties Redis: what it knew then, and perhaps nobody has read, is not claimed to be known.
func TestFeedAfterLoss(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	start := f.begun(t)
	lost := f.set(t, "lost", "production")
	f.server.Flush()
	f.wantUnknown(t, "production")
	if err := f.Observe(t.Context(), f.set(t, "late", "production")); err != nil {
		t.Fatal(err)
	}
	f.wantUnknown(t, "production")
	f.clock.Advance(2 * time.Second)
	a := f.set(t, "a", "production")
	f.wantIndex(t, a.Position())
	for _, since := range []store.Position{start, lost.Position() - 1, lost.Position()} {
		if ids, _, err := f.ChangedSince(t.Context(), "production", since, 100); !errors.Is(err, rediscache.ErrUnknown) {
			t.Errorf("changes since before the loss: %v, %v", ids, err)
		}
	}
	f.wantChanges(t, a.Position()-1, "a")
}

func TestObserve(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	start := f.begun(t)
	f.cable.cut.Store(true)
	a, b := f.set(t, "a", "production"), f.set(t, "b", "production")
	f.cable.cut.Store(false)
	f.wantIndex(t, start)
	for range 3 { // again, and in the wrong order
		if err := f.Observe(t.Context(), b, a, store.Document{}, store.Document{Ref: store.Ref{Collection: store.Leases, ID: "a"}, Generation: 1}); err != nil {
			t.Fatal(err)
		}
		f.wantIndex(t, b.Position())
		f.wantChanges(t, start, "a", "b")
	}
	if err := f.Observe(t.Context()); err != nil {
		t.Error(err)
	}
	f.server.Stop()
	if err := f.Observe(t.Context(), a); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("without Redis: %v", err)
	}
}

// TestFeedIsTrimmed makes more changes than a feed keeps, and checks that it says since when it is complete.
func TestFeedIsTrimmed(t *testing.T) {
	t.Parallel()
	f := newFeed(t)
	f.begun(t)
	docs := make([]store.Document, 10_100)
	at := f.clock.Now().Add(time.Minute)
	for i := range docs {
		docs[i] = store.Document{
			Ref: store.Ref{Collection: store.Services, ID: fmt.Sprintf("s-%05d", i)}, Generation: 1,
			UpdatedAt: at.Add(time.Duration(i) * time.Millisecond), Data: []byte(`{"environment":"production"}`),
		}
	}
	if err := f.Observe(t.Context(), docs...); err != nil {
		t.Fatal(err)
	}
	if got := f.server.Do("ZCARD", "registry:production:changes"); got != "10001" {
		t.Errorf("%s members; want 10,000 changes and the time since when they are all", got)
	}
	newest := docs[len(docs)-1].Position()
	f.wantIndex(t, newest)
	f.wantChanges(t, docs[len(docs)-3].Position(), "s-10098", "s-10099")
	ids, upTo, err := f.ChangedSince(t.Context(), "production", docs[99].Position(), 10_000)
	if err != nil || len(ids) != 10_000 || upTo != newest {
		t.Errorf("%d changes up to %d, %v", len(ids), upTo, err)
	}
	if _, _, err := f.ChangedSince(t.Context(), "production", docs[98].Position(), 10_000); !errors.Is(err, rediscache.ErrUnknown) {
		t.Errorf("since before what is kept: %v", err)
	}
}

func TestFeedOfGarbage(t *testing.T) {
	t.Parallel()
	for kind := range redistest.GarbageKinds {
		f := newFeed(t)
		f.begun(t)
		for _, key := range []string{"index", "changes", "writers"} {
			f.server.Garbage("registry:production:"+key, kind)
		}
		f.server.Garbage("registry:writers:a", kind)
		f.server.Garbage("registry:reader:a", kind)
		f.server.Garbage("service:a", kind)
		if at, err := f.Index(t.Context(), "production"); err == nil && at < 0 {
			t.Errorf("garbage %d: index %d", kind, at)
		}
		if ids, _, err := f.ChangedSince(t.Context(), "production", 1<<60, 100); err == nil && len(ids) > 0 {
			t.Errorf("garbage %d: changes %v", kind, ids)
		}
		f.set(t, "a", "production")
		f.clock.Advance(2 * time.Second)
		if !slices.Contains([]string{"set", "none"}, f.server.Do("TYPE", "registry:production:writers")) {
			t.Errorf("garbage %d: writers are a %s", kind, f.server.Do("TYPE", "registry:production:writers"))
		}
		f.server.Do("DEL", "registry:production:writers") // a set that is garbage goes when it expires
		a := f.set(t, "a", "production")
		f.wantIndex(t, a.Position())
		f.wantChanges(t, a.Position()-1, "a")
		if raw := f.server.Do("GET", "service:a"); kind != 7 && !strings.HasPrefix(raw, `{"format":1,"generation":2,`) { // 7: foreign writers
			t.Errorf("garbage %d: service:a holds %.80q", kind, raw)
		}
	}
}

// TestFeedWhileWriting follows the feed as a reader does, index first and then the store, while writers write in
// two processes: once all is quiet, it has seen all.
func TestFeedWhileWriting(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	inner := storetest.New(t, time.Now)
	var n [3]*rediscache.Store
	for i := range n {
		n[i] = rediscache.New(inner, open(t, server, roomy()), rediscache.Options{Now: time.Now, Environments: environments})
	}
	eventually(t, "there is an index", func() bool {
		w := store.Write{Ref: store.Ref{Collection: store.Services, ID: "first"}, Data: map[string]any{"environment": "production"}}
		if _, err := n[0].Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: "test", Cause: "test"}); err != nil {
			t.Fatal(err)
		}
		_, err := n[2].Index(t.Context(), "production")
		return err == nil
	})
	quiet := make(chan struct{})
	var group sync.WaitGroup
	for w := range 4 {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		group.Go(func() {
			for i := range 60 {
				write := store.Write{Ref: store.Ref{Collection: store.Services, ID: fmt.Sprintf("s-%d", random.IntN(5))}}
				if i%5 > 0 {
					write.Data = map[string]any{"environment": "production", "i": i}
				}
				if _, err := n[w%2].Commit(t.Context(), store.Batch{Writes: []store.Write{write}, Actor: "test", Cause: "test"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { group.Wait(); close(quiet) }()

	state := map[string]int64{}
	var since, index store.Position
	spared := 0
	follow := func() {
		at, err := n[2].Index(t.Context(), "production")
		if err == nil && at == index {
			spared++
			return
		}
		for doc, err := range n[2].Changes(t.Context(), store.Services, since) {
			if err != nil {
				t.Fatal(err)
			}
			since = doc.Position()
			state[doc.Ref.ID] = max(state[doc.Ref.ID], doc.Generation)
		}
		if index = at; err != nil {
			index = 0
		}
	}
	for running := true; running; {
		select {
		case <-quiet:
			running = false
		default:
		}
		follow()
	}
	want := map[string]int64{}
	for doc, err := range inner.Changes(t.Context(), store.Services, 0) {
		if err != nil {
			t.Fatal(err)
		}
		want[doc.Ref.ID] = doc.Generation
	}
	eventually(t, "the reader has seen all", func() bool {
		follow()
		return cmp.Equal(want, state)
	})
	spared = 0
	eventually(t, "an index that stays the same spares the reading", func() bool { follow(); return spared > 10 })
}
