package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// lookingBack is a feed that gives again what lies shortly before a position, as Firestore's does.
type lookingBack struct {
	feed
	given int
}

func (l *lookingBack) Changes(_ context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		from := since - store.Position(20*time.Second/time.Microsecond)
		for _, d := range l.feed {
			if d.Ref.Collection != collection || d.Position() <= from {
				continue
			}
			l.given++
			if d.Position() >= since && !yield(d, nil) {
				return
			}
		}
	}
}

func (l *lookingBack) write(t *testing.T, id string, generation int64, at time.Time) {
	t.Helper()
	data, err := json.Marshal(Record{
		Registration: Registration{ServiceID: id, ServiceName: "isectech-backend-services", Environment: "production"}, Status: Healthy,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.feed = append(l.feed, store.Document{
		Ref: recordRef(id), Generation: generation, UpdatedAt: at, UpdatedBy: "test", Data: data,
	})
}

// After many documents have changed at once they are read again for some seconds, and not for as long as no
// other changes.
func TestABurstIsNotReadForEver(t *testing.T) {
	t.Parallel()
	const burst = 1000
	l := new(lookingBack)
	now := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	c := newCache(l, func(err error) { t.Error(err) })
	look := func() {
		t.Helper()
		if err := c.refresh(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	look()
	for i := range burst {
		l.write(t, fmt.Sprintf("backend-services-%d", i), 1, now.Add(time.Duration(i)*time.Millisecond))
	}
	for range 60 {
		now = now.Add(time.Second)
		look()
	}
	if got := c.current.Load().entries.size; got != burst {
		t.Fatalf("%d records", got)
	}
	l.given = 0
	for range int(unsettled / time.Second) {
		now = now.Add(time.Second)
		look()
	}
	if l.given > burst { // once from the feed's own position
		t.Errorf("five quiet minutes after a burst took %d readings of documents", l.given)
	}
	// A change shows at the next look, also one whose commit this process's clock has left behind by a while.
	l.write(t, "backend-services-0", 2, now.Add(-settled+time.Second))
	now = now.Add(time.Second)
	look()
	if e, _ := c.current.Load().entries.get("backend-services-0"); e.generation != 2 {
		t.Error("a change by a clock that is behind is not seen")
	}
	// One further off shows when the clock is not relied on.
	now = now.Add(time.Minute)
	look()
	l.write(t, "backend-services-1", 2, now.Add(-settled-2*time.Second))
	for range int(unsettled/time.Second) + 1 {
		now = now.Add(time.Second)
		look()
	}
	if e, _ := c.current.Load().entries.get("backend-services-1"); e.generation != 2 {
		t.Error("a change by a clock that is far behind is never seen")
	}
	// A clock that is set back relies on nothing.
	now = now.Add(-time.Hour)
	l.write(t, "backend-services-2", 2, now.Add(2*time.Hour))
	look()
	if e, _ := c.current.Load().entries.get("backend-services-2"); e.generation != 2 {
		t.Error("after the clock was set back nothing is seen")
	}
}
