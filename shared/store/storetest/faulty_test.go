package storetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// TestFaultyQuiet holds the decorator to the contract while it is told nothing.
func TestFaultyQuiet(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return storetest.NewFaulty(storetest.New(t, now))
	})
}

func TestFaulty(t *testing.T) {
	t.Parallel()
	f := storetest.NewFaulty(storetest.New(t, new(storetest.Clock).Now))
	ref := store.Ref{Collection: store.Services, ID: "a"}
	b := store.Batch{Actor: "a", Cause: "c", Once: "once", Writes: []store.Write{{Ref: ref, Data: map[string]any{}}}}

	f.Fail(storetest.CallCommit, 1, store.ErrUnavailable)
	if _, err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("failing commit: %v", err)
	}
	if _, err := f.Get(t.Context(), ref); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a commit that failed has happened: %v", err)
	}
	f.LoseAnswer(1, store.ErrUnavailable)
	if _, err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("commit whose answer is lost: %v", err)
	}
	if _, err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("again: %v; want ErrDuplicate", err)
	}
	f.Fail(storetest.CallGet, -1, store.ErrCorrupt)
	for range 3 {
		if _, err := f.Get(t.Context(), ref); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("get: %v", err)
		}
	}
	f.Fail(storetest.CallGet, 0, nil)
	if _, err := f.Get(t.Context(), ref); err != nil {
		t.Errorf("get: %v", err)
	}
	release := make(chan struct{})
	f.Hold(storetest.CallQuery, release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Query(ctx, store.Query{Collection: store.Services}); !errors.Is(err, context.Canceled) {
		t.Errorf("held query: %v", err)
	}
	close(release)
	if _, err := f.Query(t.Context(), store.Query{Collection: store.Services}); err != nil {
		t.Errorf("released query: %v", err)
	}
	if n := f.Calls(storetest.CallCommit); n != 3 {
		t.Errorf("%d commits counted", n)
	}
}
