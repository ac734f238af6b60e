package storetest

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/isectech/service-networking/shared/store"
)

// The names of the calls, as Faulty knows them.
const (
	CallGet     = "get"
	CallGetAll  = "get all"
	CallQuery   = "query"
	CallCommit  = "commit"
	CallChanges = "changes"
)

// Faulty is a store whose calls fail, wait or lose their answers as a test tells it to. Its methods are
// safe for concurrent use. It passes Run as long as nobody tells it anything.
type Faulty struct {
	store.Store

	mu     sync.Mutex
	faults map[string]fault
	calls  map[string]int
}

type fault struct {
	err     error
	times   int // how many more calls; negative: all
	lost    bool
	release <-chan struct{}
}

// NewFaulty returns a store that passes its calls on to another one.
func NewFaulty(s store.Store) *Faulty {
	return &Faulty{Store: s, faults: map[string]fault{}, calls: map[string]int{}}
}

// Fail makes the next so many calls of a kind return err without being passed on; a negative number makes
// all of them, and 0 ends what was asked for before. Use store.ErrUnavailable for a back end out of reach.
func (f *Faulty) Fail(call string, times int, err error) {
	f.set(call, fault{err: err, times: times})
}

// LoseAnswer makes the next so many commits happen and yet return err, like a connection that breaks
// before the answer.
func (f *Faulty) LoseAnswer(times int, err error) {
	f.set(CallCommit, fault{err: err, times: times, lost: true})
}

// Hold makes all calls of a kind wait until release is closed, or their context ends.
func (f *Faulty) Hold(call string, release <-chan struct{}) {
	f.set(call, fault{times: -1, release: release})
}

// Calls returns how often a call was made.
func (f *Faulty) Calls(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

func (f *Faulty) set(call string, to fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[call] = to
}

// before counts a call and returns the error it is to fail with; lost says that it is to happen first.
func (f *Faulty) before(ctx context.Context, call string) (lost bool, err error) {
	f.mu.Lock()
	f.calls[call]++
	now := f.faults[call]
	if now.times > 0 {
		left := now
		left.times--
		f.faults[call] = left
	}
	f.mu.Unlock()
	if now.times == 0 {
		return false, nil
	}
	if now.release != nil {
		select {
		case <-now.release:
		case <-ctx.Done():
			return false, fmt.Errorf("%s: %w", call, ctx.Err())
		}
	}
	if now.err == nil {
		return false, nil
	}
	return now.lost, fmt.Errorf("%s: %w", call, now.err)
}

// Get passes the call on unless it is to fail.
func (f *Faulty) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	if _, err := f.before(ctx, CallGet); err != nil {
		return store.Document{}, err
	}
	return f.Store.Get(ctx, ref)
}

// GetAll passes the call on unless it is to fail.
func (f *Faulty) GetAll(ctx context.Context, refs []store.Ref) ([]store.Document, error) {
	if _, err := f.before(ctx, CallGetAll); err != nil {
		return nil, err
	}
	return f.Store.GetAll(ctx, refs)
}

// Query passes the call on unless it is to fail.
func (f *Faulty) Query(ctx context.Context, q store.Query) (store.Page, error) {
	if _, err := f.before(ctx, CallQuery); err != nil {
		return store.Page{}, err
	}
	return f.Store.Query(ctx, q)
}

// Commit passes the call on unless it is to fail, and then may still happen.
func (f *Faulty) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	lost, fail := f.before(ctx, CallCommit)
	if fail != nil && !lost {
		return nil, fail
	}
	docs, err := f.Store.Commit(ctx, b)
	if err == nil && fail != nil {
		return nil, fail
	}
	return docs, err
}

// Changes passes the call on unless it is to fail.
func (f *Faulty) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		if _, err := f.before(ctx, CallChanges); err != nil {
			yield(store.Document{}, err)
			return
		}
		f.Store.Changes(ctx, collection, since)(yield)
	}
}
