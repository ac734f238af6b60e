package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

func testChanges(t *testing.T, f *fixture) {
	if got := f.feed(t, store.Services, 0); len(got) != 0 {
		t.Fatalf("feed of nothing: %v", got)
	}
	f.set(t, ref(store.Services, "a"), object{"n": 1})
	b := f.set(t, ref(store.Services, "b"), object{"n": 1})
	f.set(t, ref(store.Leases, "elsewhere"), object{})
	a := f.set(t, ref(store.Services, "a"), object{"n": 2})
	wantEqual(t, "each document once, in its latest state", []store.Document{b, a}, f.feed(t, store.Services, 0))

	// A consumer that goes on from the last position gets all that is new, and perhaps something again.
	since := a.Position()
	gone := f.write(t, store.Write{Ref: b.Ref})
	short := f.write(t, store.Write{Ref: ref(store.Services, "c"), Data: object{}, ExpiresAt: f.clock.Now().Add(time.Second)})
	f.clock.Advance(time.Minute)
	d := f.set(t, ref(store.Services, "d"), object{})
	var got []store.Document
	for _, doc := range f.feed(t, store.Services, since) {
		if doc.Ref != a.Ref {
			got = append(got, doc)
		}
	}
	wantEqual(t, "tombstones and expired documents included", []store.Document{gone, short, d}, got)

	// So does one that stops in the middle of a batch.
	var batched []store.Write
	for i := range 20 {
		batched = append(batched, store.Write{Ref: ref(store.Services, fmt.Sprintf("batch-%02d", i)), Data: object{}})
	}
	docs, err := f.Commit(t.Context(), batch(batched...))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	since = d.Position()
	for range len(docs) {
		steps := 0
		for doc, err := range f.Changes(t.Context(), store.Services, since) {
			if err != nil {
				t.Fatal(err)
			}
			seen[doc.Ref.ID] = true
			if steps++; doc.Position() > since || steps > 2*len(docs) {
				since = doc.Position()
				break
			}
		}
	}
	for _, doc := range f.feed(t, store.Services, since) {
		seen[doc.Ref.ID] = true
	}
	for _, doc := range docs {
		if !seen[doc.Ref.ID] {
			t.Errorf("%s is missing from a feed taken up again and again", doc.Ref)
		}
	}
	if entries := f.feed(t, store.Journal, 0); len(entries) != 26 {
		t.Errorf("%d entries in the journal's feed; want 26", len(entries))
	}
}

// testChangesWhileWriting follows the feed while writers write, and must have seen every generation's
// successor or itself.
func testChangesWhileWriting(t *testing.T, f *fixture) {
	const writers, writes = 6, 12
	follow := func(ctx context.Context, state map[string]store.Document, since store.Position) (store.Position, error) {
		last := store.Position(0)
		for d, err := range f.Changes(ctx, store.Services, since) {
			if err != nil {
				return since, err
			}
			if d.Position() < last {
				return since, fmt.Errorf("%s at %d after %d", d.Ref, d.Position(), last)
			}
			last = d.Position()
			since = max(since, last)
			if d.Generation > state[d.Ref.ID].Generation {
				state[d.Ref.ID] = d
			}
		}
		return since, nil
	}
	finished := make(chan []error, 1)
	go func() {
		finished <- parallel(t.Context(), writers, func(ctx context.Context, w int) error {
			for i := range writes {
				r := ref(store.Services, fmt.Sprintf("%d-%d", w, i%5))
				var data any = object{"i": i}
				if i%4 == 3 {
					data = nil
				}
				if _, err := f.Commit(ctx, batch(store.Write{Ref: r, Data: data}, store.Write{Ref: ref(store.Services, fmt.Sprintf("%d-own", w)), Data: object{"i": i}})); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	state := map[string]store.Document{}
	var since store.Position
	for running := true; running; {
		select {
		case errs := <-finished:
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		var err error
		if since, err = follow(t.Context(), state, since); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]store.Document{}
	for _, d := range f.feed(t, store.Services, 0) {
		want[d.Ref.ID] = d
	}
	wantEqual(t, "state from the feed in parts, against the feed as a whole", want, state)
	if !slices.IsSortedFunc(f.feed(t, store.Services, 0), func(a, b store.Document) int {
		return a.UpdatedAt.Compare(b.UpdatedAt)
	}) {
		t.Error("the feed is out of order")
	}
}
