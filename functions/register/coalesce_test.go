package register

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Whoever asks while a run is under way is served by one that begins later, all of them by the same; runs of one key
// never overlap, those of others do not wait.
func TestCoalescer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c coalescer
		var begun, under atomic.Int32
		release := make(chan struct{})
		failure := errors.New("failed")
		work := func(context.Context) error {
			begun.Add(1)
			if under.Add(1) > 1 {
				t.Error("two at once")
			}
			<-release
			under.Add(-1)
			return failure
		}
		var group sync.WaitGroup
		ask := func() {
			group.Go(func() {
				if err := c.do(t.Context(), "a", work); !errors.Is(err, failure) {
					t.Errorf("got %v", err)
				}
			})
		}
		ask()
		synctest.Wait()
		for range 20 {
			ask()
		}
		synctest.Wait()
		if n := begun.Load(); n != 1 {
			t.Fatalf("%d have begun", n)
		}
		if err := c.do(t.Context(), "b", func(context.Context) error { return nil }); err != nil {
			t.Error(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.do(ended, "a", work); !errors.Is(err, context.Canceled) {
			t.Errorf("whoever waits no longer: %v", err)
		}
		close(release)
		group.Wait()
		if n := begun.Load(); n != 2 {
			t.Errorf("%d runs for 21 who asked", n)
		}
		if len(c.waiting)+len(c.current) != 0 {
			t.Errorf("remembers %d and %d", len(c.waiting), len(c.current))
		}
	})
}
