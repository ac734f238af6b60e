package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/registry/balance"
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

// tell wakes whoever waits. Its caller holds the lock.
func (w *watched) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// known returns the service, and how old that is which is known of it. It waits for the first reading until ctx ends,
// and a little for a copy that is not too old.
func (w *watched) known(ctx context.Context) (*watched, *service, time.Duration, error) {
	w.mu.Lock()
	s, merged := w.service, w.merged
	w.mu.Unlock()
	if s != nil && merged == nil {
		if age, ok := w.c.fresh(s); ok {
			return w, s, age, nil
		}
	}
	return w.await(ctx)
}

// fresh returns the age of a copy, and whether it may be answered from.
func (c *Client) fresh(s *service) (age time.Duration, ok bool) {
	age = max(0, c.options.Now().Sub(s.asOf))
	return age, c.options.MaxStale == 0 || age <= c.options.MaxStale
}

// await is known for a service that is not known yet, or not well enough.
func (w *watched) await(ctx context.Context) (*watched, *service, time.Duration, error) {
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
			age, ok := w.c.fresh(service)
			if ok {
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
