package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/registry/balance"
)

const (
	longPoll = 25 * time.Second // of one request for changes
	// coalesce is the least time between two such requests that were answered with changes, and tooSoon between
	// two that were answered with none before their time: whatever stands in between does not make us hammer.
	coalesce = 100 * time.Millisecond
	tooSoon  = time.Second

	staleWait  = 2 * time.Second // for a copy that is too old to be answered from
	refusedFor = 5 * time.Second // a refusal is remembered
)

// watched is a service that is kept up to date.
type watched struct {
	c    *Client
	ref  string // the name or alias that was asked for first
	end  context.CancelFunc
	used atomic.Int64 // when it was last discovered

	mu        sync.Mutex
	service   *service      // nil before the first reading
	err       error         // of the last attempt to read
	refused   time.Time     // until when err is the answer, where there is no service
	merged    *watched      // who watches the same service by another name; nil: nobody
	changed   chan struct{} // closed at the next change of all this
	balancers map[want]*balance.Balancer
}

// maxWanted bounds the balancers of one service.
const maxWanted = 64

// watching returns what watches a service; the first to ask starts it.
func (c *Client) watching(ref string) (*watched, error) {
	now := c.options.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	w := c.names[ref]
	if w != nil {
		w.mu.Lock()
		over := w.service == nil && !w.refused.IsZero() && !now.Before(w.refused)
		if w.merged != nil {
			w = w.merged
		}
		w.mu.Unlock()
		if !over {
			w.used.Store(now.UnixNano())
			return w, nil
		}
		c.drop(w)
	}
	for len(c.names) >= c.options.MaxNames {
		c.drop(c.leastUsed())
	}
	w = &watched{c: c, ref: ref, changed: make(chan struct{}), balancers: map[want]*balance.Balancer{}}
	w.used.Store(now.UnixNano())
	var ctx context.Context
	ctx, w.end = context.WithCancel(c.ctx)
	c.names[ref] = w
	c.group.Go(func() {
		defer w.end()
		w.run(ctx)
	})
	return w, nil
}

// leastUsed returns one that was refused, or else the one that was not discovered for longest.
func (c *Client) leastUsed() (least *watched) {
	for _, w := range c.names {
		w.mu.Lock()
		refused := w.service == nil && !w.refused.IsZero()
		w.mu.Unlock()
		if refused {
			return w
		}
		if least == nil || w.used.Load() < least.used.Load() {
			least = w
		}
	}
	return least
}

// drop ends a watch and forgets it under all its names. Its caller holds the client's lock.
func (c *Client) drop(w *watched) {
	for ref, other := range c.names {
		if other == w {
			delete(c.names, ref)
		}
	}
	w.end()
}

// run reads the service and waits for its changes until nobody wants it.
func (w *watched) run(ctx context.Context) {
	defer w.leave()
	var at *service
	for failures, whole := 0, false; ctx.Err() == nil && !w.idle(); {
		began := w.c.options.Now()
		next, changed, err := w.ask(ctx, at, whole)
		switch {
		case ctx.Err() != nil:
			return
		case answered(err, http.StatusGone):
			whole = false
			sleep(ctx, coalesce)
			continue
		case err != nil:
			failures++
			if w.fail(err) {
				return
			}
			sleep(ctx, w.c.pause(failures, maxPause, err))
			continue
		case at == nil && w.merge(next):
			return
		}
		failures = 0
		w.set(next, changed || !whole)
		wasWhole := whole
		at, whole = next, w.c.options.Now().Before(next.reload)
		switch took := w.c.options.Now().Sub(began); {
		case !wasWhole:
		case changed:
			sleep(ctx, coalesce)
		case took < tooSoon && whole:
			sleep(ctx, tooSoon)
		}
	}
}

// ask reads the service, or waits for its changes where all before is known.
func (w *watched) ask(ctx context.Context, at *service, whole bool) (next *service, changed bool, err error) {
	if !whole {
		ref := w.ref
		if at != nil {
			ref = at.name
		}
		next, err = w.c.load(ctx, ref)
		return next, true, err
	}
	return w.c.watch(ctx, at, min(longPoll, max(at.reload.Sub(w.c.options.Now()), time.Millisecond)))
}

// idle reports whether nobody has wanted the service for long; then it is forgotten, unless there is no registry to
// learn of it again.
func (w *watched) idle() bool {
	w.mu.Lock()
	lost := w.service != nil && w.err != nil
	w.mu.Unlock()
	if lost {
		return false
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.c.options.Now().UnixNano()-w.used.Load() < int64(w.c.options.IdleAfter) {
		return false
	}
	w.c.drop(w)
	return true
}

// merge lets the one who watches the same service by another name do so alone, and reports whether there is one.
// Otherwise this one is it, for the service's own name too.
func (w *watched) merge(next *service) bool {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	other := w.c.names[next.name]
	if other == nil && len(w.c.names) < w.c.options.MaxNames {
		w.c.names[next.name] = w
	}
	if other == nil || other == w {
		return false
	}
	for ref, is := range w.c.names {
		if is == w {
			w.c.names[ref] = other
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.merged = other
	w.tell()
	return true
}

// set takes what is known now.
func (w *watched) set(next *service, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		w.c.logger.Info("registry is found again", slog.String("service", next.name))
	}
	w.service, w.err = next, nil
	if changed {
		for wanted, b := range w.balancers {
			endpoints := next.endpoints(wanted)
			if b.Set(endpoints); len(endpoints) == 0 {
				delete(w.balancers, wanted)
			}
		}
	}
	w.tell()
}

// fail takes an error and reports whether it is the end: a service that there is not, or the refusal of the first
// reading. What is known stays otherwise.
func (w *watched) fail(err error) (ends bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.c.logger.Warn("registry is lost", slog.String("service", w.ref), slog.String("error", err.Error()))
	}
	w.err = err
	if unknown := errors.Is(err, ErrUnknownService); unknown || w.service == nil && lasting(err) {
		w.service, w.refused, ends = nil, w.c.options.Now().Add(refusedFor), true
		clear(w.balancers)
	}
	w.tell()
	return ends
}

// leave ends the watch. Who still waits for its first reading is not left waiting.
func (w *watched) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.service == nil && w.refused.IsZero() && w.merged == nil {
		w.err, w.refused = errors.Join(ErrUnavailable, w.err), w.c.options.Now()
	}
	w.tell()
}

// tell wakes whoever waits. Its caller holds the lock.
func (w *watched) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// known returns the service, waiting for its first reading until ctx ends, and a little for a copy that is not too
// old. err is why there is none.
func (w *watched) known(ctx context.Context) (*watched, *service, time.Duration, error) {
	patience := make(chan struct{})
	var timer *time.Timer
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for {
		w.mu.Lock()
		service, err, refused, merged, changed := w.service, w.err, !w.refused.IsZero(), w.merged, w.changed
		w.mu.Unlock()
		switch {
		case merged != nil:
			w = merged
			continue
		case service == nil && refused:
			return w, nil, 0, err
		case service != nil:
			age := max(0, w.c.options.Now().Sub(service.asOf))
			if w.c.options.MaxStale == 0 || age <= w.c.options.MaxStale {
				return w, service, age, nil
			}
			if timer == nil {
				timer = time.AfterFunc(staleWait, func() { close(patience) })
			}
			err = errors.Join(fmt.Errorf("%s: %w: %v", service.name, ErrStale, age.Round(time.Second)), err)
		}
		select {
		case <-changed:
		case <-patience:
			return w, nil, 0, err
		case <-ctx.Done():
			return w, nil, 0, errors.Join(ctx.Err(), err)
		case <-w.c.ctx.Done():
			return w, nil, 0, ErrClosed
		}
	}
}

// balancer returns what chooses among the endpoints that are wanted.
func (w *watched) balancer(s *service, wanted want) (*balance.Balancer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.balancers[wanted]; b != nil {
		return b, nil
	}
	if w.service != nil {
		s = w.service
	}
	endpoints := s.endpoints(wanted)
	if len(endpoints) == 0 || len(w.balancers) >= maxWanted {
		return nil, noEndpoint(s, wanted)
	}
	b := balance.New(w.c.options.Balance)
	b.Set(endpoints)
	w.balancers[wanted] = b
	return b, nil
}

// noEndpoint says what there is instead.
func noEndpoint(s *service, wanted want) error {
	states := map[string]int{}
	for _, i := range s.instances {
		state := string(i.Status)
		if i.Lapsed {
			state = "lapsed"
		}
		states[state]++
	}
	var there []string
	for state, n := range states {
		there = append(there, fmt.Sprintf("%d %s", n, state))
	}
	slices.Sort(there)
	if len(there) == 0 {
		there = []string{"there are no instances"}
	}
	return fmt.Errorf("%s, endpoint %q: %w: %s", s.name, wanted.endpoint, ErrNoEndpoint, strings.Join(there, ", "))
}
