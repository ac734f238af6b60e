package trust_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// lookingBack is a store whose feed begins 20 seconds before it was asked to, as one has to that learns of commits
// out of their order. It counts what it gives.
type lookingBack struct {
	store.Store
	given int
}

func (l *lookingBack) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for doc, err := range l.Store.Changes(ctx, collection, max(0, since-store.Position(20*time.Second/time.Microsecond))) {
			l.given++
			if !yield(doc, err) {
				return
			}
		}
	}
}

// Many revocations at once cost some seconds of reading them again, not all the time until the next one.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	back := &lookingBack{Store: p.Store}
	s := trust.NewSource(back, p.Clock.Now)
	stateOf(t, s)
	const many = 50
	for i := range many {
		revoke(t, p.Store, trust.Revocation{Kind: trust.RevokedToken, Value: fmt.Sprint("token", i), ExpiresAt: p.Clock.Now().Add(time.Hour)})
	}
	for range 40 {
		p.Clock.Advance(time.Second)
		stateOf(t, s)
	}
	if back.given < many {
		t.Fatalf("%d of %d were read", back.given, many)
	}
	before := back.given
	for range 100 {
		p.Clock.Advance(time.Second)
		stateOf(t, s)
	}
	if back.given != before {
		t.Errorf("%d were read again long after", back.given-before)
	}
	revoke(t, p.Store, trust.Revocation{Kind: trust.RevokedToken, Value: "late", ExpiresAt: p.Clock.Now().Add(time.Hour)})
	p.Clock.Advance(time.Second)
	stateOf(t, s)
	if back.given != before+1 {
		t.Errorf("%d were read for one more", back.given-before)
	}
}
