package registry

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// hanging is a store that notes how long it is given, and does not answer.
type hanging struct {
	store.Store
	given []time.Duration
	up    bool
}

func (h *hanging) Changes(ctx context.Context, _ string, _ store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		if h.up {
			return
		}
		deadline, _ := ctx.Deadline()
		h.given = append(h.given, time.Until(deadline))
		yield(store.Document{}, errors.New("no answer"))
	}
}

// TestReadersDoNotWaitForAHangingStore wants a reader with a snapshot at hand to wait for little, but longer the
// longer it lasts, and never beyond its own deadline.
func TestReadersDoNotWaitForAHangingStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, readersOfAHangingStore) // in which time stands still, so that deadlines are exact
}

func readersOfAHangingStore(t *testing.T) {
	h := &hanging{up: true}
	f := freshness{cache: newCache(h, func(err error) { t.Error(err) }), bound: time.Second, maxStale: time.Hour, timeout: 10 * time.Second}
	now := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	if err := f.ensure(t.Context(), now, false); err != nil {
		t.Fatal(err)
	}
	h.up = false
	for range 6 {
		now = now.Add(2 * time.Second)
		if err := f.ensure(t.Context(), now, false); err != nil {
			t.Fatalf("with a snapshot at hand: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	now = now.Add(2 * time.Second)
	if err := f.ensure(ctx, now, false); err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{1, 2, 4, 8, 10, 10, 3}
	for i, given := range h.given {
		if i >= len(want) || given != want[i]*time.Second {
			t.Fatalf("was given %v, want %v seconds", h.given, want)
		}
	}
	if len(h.given) != len(want) {
		t.Errorf("asked %d times, want %d", len(h.given), len(want))
	}
}
