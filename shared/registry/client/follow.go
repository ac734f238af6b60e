package client

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

const (
	longPoll = 25 * time.Second // of one request for changes
	// coalesce is the least time between two such requests that were answered with changes, and tooSoon between
	// two that were answered with none before their time: whatever stands in between does not make us hammer.
	coalesce = 100 * time.Millisecond
	tooSoon  = time.Second

	// mostOlder is how many readings in a row may be older than what is known; then the registry has been set back.
	mostOlder = 10

	staleWait  = 2 * time.Second // for a copy that is too old to be answered from
	refusedFor = 5 * time.Second // a refusal is remembered
)

// run reads the service and waits for its changes until nobody wants it.
func (w *watched) run(ctx context.Context) {
	defer w.leave()
	var at *service
	for failures, older, whole := 0, 0, false; ctx.Err() == nil && !w.idle(); {
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
			if w.fail(err) {
				return
			}
			if failures++; failures%3 == 0 {
				whole = false // waiting may be what does not work
			}
			sleep(ctx, w.c.pause(failures, maxPause, err))
			continue
		case at == nil && w.merge(next):
			return
		case at != nil && next.index < at.index && older < mostOlder:
			// An instance of the registry that is behind another would bring back what has gone.
			older++
			sleep(ctx, tooSoon)
			continue
		}
		failures, older = 0, 0
		w.set(next, changed || !whole)
		took, waited := w.c.options.Now().Sub(began), whole
		at, whole = next, w.c.options.Now().Before(next.reload)
		switch {
		case !waited:
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
