package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// freshness decides at each read whether the snapshot is to be brought up to date first. One reader does
// it for all; while the store cannot be reached, one reader at a time tries and the others are served the
// last snapshot at once.
type freshness struct {
	cache    *cache
	bound    time.Duration // a snapshot younger than this is served as it is
	maxStale time.Duration // one older than this is not served at all
	timeout  time.Duration // of one refresh

	checked atomic.Int64 // when the last successful refresh began, in Unix nanoseconds; 0: never

	mu       sync.Mutex
	flight   *flight
	failed   time.Time // when the last refresh failed; zero after a success
	failures int       // since the last success
	failure  error
}

// warmTimeout is how long a refresh may take while there is a snapshot to serve instead: whoever asks is better
// off with its age than with a wait. Each failure doubles it, since there may be much to read.
const (
	warmTimeout  = time.Second
	maxDoublings = 10
)

type flight struct {
	done chan struct{}
	err  error
}

// age returns how old the snapshot may be; ok is false when there is none.
func (f *freshness) age(now time.Time) (age time.Duration, ok bool) {
	checked := f.checked.Load()
	return max(0, time.Duration(now.UnixNano()-checked)), checked != 0
}

// fresh reports whether the snapshot may be served without asking the store. A clock that was set back
// makes no snapshot fresh.
func (f *freshness) fresh(now time.Time) bool {
	checked := f.checked.Load()
	since := time.Duration(now.UnixNano() - checked)
	return checked != 0 && since < f.bound && since > -f.bound
}

// ensure makes the snapshot fresh if it can, and fails only when none is left that may be served. A whole one
// also misses nothing older than what it holds of this process's own commits.
func (f *freshness) ensure(ctx context.Context, now time.Time, whole bool) error {
	err := f.renew(ctx, now, whole)
	if err == nil && whole {
		err = f.renew(ctx, now, whole) // the first may have been another's, begun before the commit
	}
	if err == nil {
		return nil
	}
	age, ok := f.age(now)
	switch {
	case !ok:
		return fmt.Errorf("the registry has not been read yet: %w", err)
	case age > f.maxStale:
		return fmt.Errorf("the registry was last read %s ago, which is too long: %w", age.Round(time.Second), err)
	default:
		return nil
	}
}

// enough reports whether the snapshot may be served as it is.
func (f *freshness) enough(now time.Time, whole bool) bool {
	return f.fresh(now) && !(whole && f.cache.ahead())
}

// renew refreshes the snapshot unless it is fresh enough, or waits for the refresh that is under way.
func (f *freshness) renew(ctx context.Context, now time.Time, whole bool) error {
	if f.enough(now, whole) {
		return nil
	}
	f.mu.Lock()
	if f.enough(now, whole) {
		f.mu.Unlock()
		return nil
	}
	down := !f.failed.IsZero()
	if running := f.flight; running != nil {
		failure := f.failure
		f.mu.Unlock()
		if down && f.checked.Load() != 0 {
			return failure
		}
		select {
		case <-running.done:
			return running.err
		case <-ctx.Done():
			return unavailable(ctx.Err())
		}
	}
	if since := now.Sub(f.failed); down && since >= 0 && since < f.bound {
		failure := f.failure
		f.mu.Unlock()
		return failure
	}
	mine := &flight{done: make(chan struct{}), err: errors.New("the refresh was cut short")}
	f.flight = mine
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.flight, f.failure = nil, mine.err
		f.failed = now
		f.failures++
		if mine.err == nil {
			f.failed, f.failures = time.Time{}, 0
			f.checked.Store(now.UnixNano())
		}
		f.mu.Unlock()
		close(mine.done)
	}()
	// Others wait for this refresh too, so it outlives the request that happened to begin it.
	timeout := f.timeout
	if f.checked.Load() != 0 {
		timeout = min(timeout, warmTimeout<<min(f.failures, maxDoublings))
	}
	refreshing, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		refreshing, cancel = context.WithDeadline(refreshing, deadline)
		defer cancel()
	}
	mine.err = unavailable(f.cache.refresh(refreshing, now))
	return mine.err
}

// unavailable marks an error as one of the store's absence, which is what every failed reading means to
// a reader.
func unavailable(err error) error {
	if err == nil || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
