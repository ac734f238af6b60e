// Package storetest holds back ends of package store to its contract: Run is the suite that each of them,
// and each decorator, passes. It also has what tests of a store's users need: New, a real store in a
// temporary file; Clock, a clock that stands until it is told otherwise; and Faulty, a store that fails
// when it is told to.
package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// Start is what a new Clock shows.
var Start = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

// Clock is a clock that stands still between calls of Advance. The zero Clock shows Start.
type Clock struct {
	mu    sync.Mutex
	since time.Duration
}

// Now returns the time shown.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Start.Add(c.since)
}

// Advance moves the clock, also backwards.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since += d
}

// New returns an empty store in a file of the test's own, which is closed when the test ends.
func New(t testing.TB, now func() time.Time) store.Store {
	t.Helper()
	db, err := boltstore.Open(filepath.Join(t.TempDir(), "store.db"), boltstore.Options{Now: now})
	if err != nil {
		t.Fatalf("storetest.New: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("storetest.New: close: %v", err)
		}
	})
	return db
}

// Run holds a back end to the contract of store.Store. Each part gets a store of its own.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	parts := []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"Generations", testGenerations},
		{"Preconditions", testPreconditions},
		{"Atomicity", testAtomicity},
		{"Invalid", testInvalid},
		{"CancelledContext", testCancelled},
		{"Expiry", testExpiry},
		{"Tombstones", testTombstones},
		{"GetAll", testGetAll},
		{"Fidelity", testFidelity},
		{"HostileNames", testHostileNames},
		{"LargeDocument", testLargeDocument},
		{"Once", testOnce},
		{"OnceRace", testOnceRace},
		{"OccurredAt", testOccurredAt},
		{"OnceWithoutEffect", testOnceWithoutEffect},
		{"QueryFilters", testQueryFilters},
		{"QueryOrder", testQueryOrder},
		{"QueryPages", testQueryPages},
		{"QueryPagesWhileWriting", testQueryPagesWhileWriting},
		{"QueryTokens", testQueryTokens},
		{"Changes", testChanges},
		{"ChangesWhileWriting", testChangesWhileWriting},
		{"Journal", testJournal},
		{"JournalUnderConcurrency", testJournalConcurrency},
		{"VerifyWhileWriting", testVerifyWhileWriting},
		{"IncrementsWithGeneration", testIncrements},
		{"WritersWithoutPrecondition", testWriters},
		{"RacingCreates", testRacingCreates},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			clock := new(Clock)
			part.run(t, &fixture{Store: open(t, clock.Now), clock: clock})
		})
	}
}

// fixture is a store under test with the calls that tests make most.
type fixture struct {
	store.Store
	clock *Clock
}

// object is a document as tests write it.
type object map[string]any

func ref(collection, id string) store.Ref { return store.Ref{Collection: collection, ID: id} }

func batch(writes ...store.Write) store.Batch {
	return store.Batch{Writes: writes, Actor: "operator:test@isectech.com", Cause: "test"}
}

// write commits one write and returns its document.
func (f *fixture) write(t *testing.T, w store.Write) store.Document {
	t.Helper()
	docs, err := f.Commit(t.Context(), batch(w))
	if err != nil {
		t.Fatalf("commit %s: %v", w.Ref, err)
	}
	return docs[0]
}

// set writes data without a precondition.
func (f *fixture) set(t *testing.T, r store.Ref, data any) store.Document {
	t.Helper()
	return f.write(t, store.Write{Ref: r, Data: data})
}

// get returns a document that is there.
func (f *fixture) get(t *testing.T, r store.Ref) store.Document {
	t.Helper()
	d, err := f.Get(t.Context(), r)
	if err != nil {
		t.Fatalf("get %s: %v", r, err)
	}
	return d
}

// verify fails the test unless journal and documents agree.
func (f *fixture) verify(t *testing.T) store.Report {
	t.Helper()
	report, err := store.Verify(t.Context(), f.Store, f.clock.Now())
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, fault := range report.Faults {
		t.Errorf("verify: %s", fault)
	}
	return report
}

// all gathers every page of a query.
func (f *fixture) all(t *testing.T, q store.Query) []store.Document {
	t.Helper()
	var docs []store.Document
	for pages := 0; ; pages++ {
		page, err := f.Query(t.Context(), q)
		if err != nil {
			t.Fatalf("query: %v", err)
		}
		docs = append(docs, page.Documents...)
		if q.PageToken = page.Next; page.Next == "" {
			return docs
		}
		if pages > 10_000 {
			t.Fatal("query: pages without end")
		}
	}
}

// feed gathers the changes since a position.
func (f *fixture) feed(t *testing.T, collection string, since store.Position) []store.Document {
	t.Helper()
	var docs []store.Document
	for d, err := range f.Changes(t.Context(), collection, since) {
		if err != nil {
			t.Fatalf("changes: %v", err)
		}
		docs = append(docs, d)
	}
	return docs
}

func ids(docs []store.Document) []string {
	out := make([]string, len(docs))
	for i, d := range docs {
		out[i] = d.Ref.ID
	}
	return out
}

func wantEqual(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, rawAsText); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// parallel runs n functions at once and returns their errors.
func parallel(ctx context.Context, n int, run func(ctx context.Context, i int) error) []error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := run(ctx, i); err != nil {
				errs[i] = fmt.Errorf("%d: %w", i, err)
			}
		})
	}
	group.Wait()
	return errs
}

// rawAsText compares data as text: as bytes, large documents take seconds.
var rawAsText = cmp.Transformer("text", func(raw json.RawMessage) string { return string(raw) })
