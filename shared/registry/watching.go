package registry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// scope is what a change has to do with, and what a watcher waits for: a service, an environment, a service in
// an environment or, empty, everything.
type scope struct {
	name string
	env  auth.Environment
}

// watchers are those who wait. Each is found under what it waits for, so that a change costs as many as it
// concerns. While there are any, one goroutine keeps the snapshot up to date for all of them.
type watchers struct {
	mu      sync.Mutex
	waiting map[scope]map[*watcher]struct{}
	count   int
	leave   context.CancelFunc // ends the following
	soon    chan struct{}      // holds one when something of this process's own is to be seen

	woken atomic.Int64
}

// watcher is one who waits. Changes that come while it is busy are one to it.
type watcher struct{ woken chan struct{} }

// add begins a wait for changes in any of the scopes; follow is run for as long as anyone waits.
func (ws *watchers) add(ctx context.Context, scopes []scope, follow func(context.Context, <-chan struct{})) *watcher {
	w := &watcher{woken: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.waiting == nil {
		ws.waiting = make(map[scope]map[*watcher]struct{})
	}
	for _, s := range scopes {
		if ws.waiting[s] == nil {
			ws.waiting[s] = make(map[*watcher]struct{})
		}
		ws.waiting[s][w] = struct{}{}
	}
	if ws.count++; ws.count == 1 {
		ws.soon = make(chan struct{}, 1)
		following, leave := context.WithCancel(context.WithoutCancel(ctx))
		ws.leave = leave
		go follow(following, ws.soon)
	}
	return w
}

func (ws *watchers) remove(w *watcher, scopes []scope) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, s := range scopes {
		if delete(ws.waiting[s], w); len(ws.waiting[s]) == 0 {
			delete(ws.waiting, s)
		}
	}
	if ws.count--; ws.count == 0 {
		ws.leave()
	}
}

// wake wakes those whom a change to a service in an environment concerns.
func (ws *watchers) wake(changed scope) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, s := range [...]scope{changed, {name: changed.name}, {env: changed.env}, {}} {
		for w := range ws.waiting[s] {
			select {
			case w.woken <- struct{}{}:
				ws.woken.Add(1)
			default: // it has not looked yet since the last time
			}
		}
	}
}

// hurry has what this process committed shown to those who wait, without waiting for the next look.
func (ws *watchers) hurry() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.count == 0 {
		return
	}
	select {
	case ws.soon <- struct{}{}:
	default:
	}
}

// gather is how long a commit of this process waits for others, so that a burst of them is one look at the store.
const gather = 100 * time.Millisecond

// follow keeps the snapshot up to date until nobody waits any more. A look that fails is made again when the
// snapshot may be renewed again: those who wait learn of it when their wait is over.
func (r *Registry) follow(ctx context.Context, soon <-chan struct{}) {
	for {
		age, _ := r.fresh.age(r.now())
		pause := r.fresh.bound - age
		if pause <= 0 { // it could not be renewed
			pause = r.fresh.bound
		}
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C: // another process may have written
		case <-soon:
			again.Reset(gather)
			select {
			case <-ctx.Done():
				again.Stop()
				return
			case <-again.C:
			}
		}
		_, _ = r.Whole(ctx)
	}
}

// Watch waits until something that ChangesSince would return is newer than an index, at most for a time,
// and returns it, with the view that it is part of.
//
// Watchers hear of what is committed. The end of a lease and a quarantine are not: an instance carries the time at
// which its lease ends, and quarantine shows in every view.
func (r *Registry) Watch(ctx context.Context, index int64, ref string, env auth.Environment, wait time.Duration) (View, []Change, error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	view, err := r.Whole(ctx)
	if err != nil {
		return view, nil, err
	}
	changes, err := view.ChangesSince(index, ref, env)
	if err != nil || len(changes) > 0 || wait <= 0 {
		return view, changes, err
	}
	scopes := view.scopes(ref, env)
	w := r.cache.watched.add(ctx, scopes, r.follow)
	defer r.cache.watched.remove(w, scopes)
	for over := false; ; {
		// After it has begun to wait, so that nothing is missed in between; and once more at the end, since what
		// a name means may have changed.
		if view, err = r.View(ctx); err != nil {
			return view, nil, err
		}
		changes, err := view.ChangesSince(index, ref, env)
		if err != nil || len(changes) > 0 || over {
			return view, changes, err
		}
		select {
		case <-w.woken:
		case <-end.C:
			over = true
		case <-ctx.Done():
			return view, nil, ctx.Err()
		}
	}
}

// scopes are those that a watcher waits for. A name that means nothing yet may come to mean a service.
func (v View) scopes(ref string, env auth.Environment) []scope {
	if ref == "" {
		return []scope{{env: env}}
	}
	if name, ok := v.ServiceName(ref); ok {
		return []scope{{name, env}}
	}
	return []scope{{ref, env}, {auth.ServicePrefix + ref, env}}
}

// Watching says who waits at the moment, and how often anyone has been woken.
type Watching struct {
	Watchers int   `json:"watchers"`
	Wakeups  int64 `json:"wakeups"`
}

// Watching counts the watchers.
func (r *Registry) Watching() Watching {
	ws := &r.cache.watched
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return Watching{Watchers: ws.count, Wakeups: ws.woken.Load()}
}
