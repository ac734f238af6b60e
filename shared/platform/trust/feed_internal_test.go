package trust

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// again is a store that gives what lies at a position again, as the contract lets it.
type again struct{ store.Store }

func (a again) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return a.Store.Changes(ctx, collection, max(since-1, 0))
}

// A set of which nothing has changed is the same set, though the store gives what lies at its edge again.
func TestUnchangedSetIsTheSame(t *testing.T) {
	t.Parallel()
	var clock storetest.Clock
	s := storetest.New(t, clock.Now)
	write := func(values ...string) {
		t.Helper()
		b := store.Batch{Actor: "test", Cause: "test"}
		for _, v := range values {
			r := Revocation{Kind: RevokedToken, Value: v}
			b.Writes = append(b.Writes, store.Write{Ref: RevocationRef(r), Data: r, ExpiresAt: clock.Now().Add(time.Hour)})
		}
		if _, err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	f := newFeed(again{s})
	read := func() *revoked {
		t.Helper()
		got, err := f.read(t.Context(), clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(); !got.none() {
		t.Fatalf("%+v", got)
	}
	write("a", "b")
	first := read()
	if first.none() || !first.hasToken("a") || !first.hasToken("b") || read() != first {
		t.Errorf("first %+v", first)
	}
	write("c")
	second := read()
	if second == first || first.hasToken("c") || !second.hasToken("c") || read() != second {
		t.Errorf("second %+v", second)
	}
}
