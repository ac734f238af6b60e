package firestorestore

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/isectech/service-networking/shared/store"
)

// turns lets the commits of this process that write the same document go one after the other: between
// themselves they would only make each other read and try again. Other processes are not asked; against
// them the preconditions stand.
type turns struct {
	mu   sync.Mutex
	held map[store.Ref]*turn
}

type turn struct {
	free    chan struct{} // holds one token while nobody has the turn
	waiting int           // those who have it or want it
}

// take waits for the turn of every one of refs and returns what gives them back.
func (t *turns) take(ctx context.Context, refs []store.Ref) (done func(), err error) {
	// All take them in the same order, so that none waits for another that waits for it.
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b store.Ref) int { return strings.Compare(a.String(), b.String()) })
	taken := 0
	done = func() {
		for _, ref := range refs[:taken] {
			t.give(ref)
		}
	}
	for _, ref := range refs {
		if err := t.wait(ctx, ref); err != nil {
			done()
			return nil, err
		}
		taken++
	}
	return done, nil
}

func (t *turns) wait(ctx context.Context, ref store.Ref) error {
	t.mu.Lock()
	if t.held == nil {
		t.held = make(map[store.Ref]*turn)
	}
	mine := t.held[ref]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		t.held[ref] = mine
	}
	mine.waiting++
	t.mu.Unlock()
	select {
	case <-mine.free:
		return nil
	case <-ctx.Done():
		t.leave(ref, mine)
		return ctx.Err()
	}
}

func (t *turns) give(ref store.Ref) {
	t.mu.Lock()
	mine := t.held[ref]
	t.mu.Unlock()
	mine.free <- struct{}{}
	t.leave(ref, mine)
}

// leave forgets a document that nobody waits for any more.
func (t *turns) leave(ref store.Ref, mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.waiting--; mine.waiting == 0 {
		delete(t.held, ref)
	}
}
