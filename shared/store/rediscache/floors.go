package rediscache

import (
	"math"
	"sync"
	"time"
)

// maxFloors bounds the generations that are remembered at a time, about 10 MB of them. While there are more,
// nothing is taken from Redis.
const maxFloors = 1 << 16

// unknown is the generation of a document of which only the inner store knows what has become.
const unknown = math.MaxInt64

// floors remembers the newest generation of each document that this process has seen, for as long as Redis
// may have an older one: at least span, at most twice as long.
type floors struct {
	span time.Duration

	mu       sync.RWMutex
	now      generations
	before   generations // of the span before
	rotating bool
}

type generations struct {
	of   map[string]int64
	full bool // some were not remembered
}

func newFloors(span time.Duration) *floors {
	return &floors{span: span, now: generations{of: make(map[string]int64)}}
}

// closed reports whether nothing may be taken from Redis for a document.
func (f *floors) closed(id string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.now.full || f.before.full || max(f.now.of[id], f.before.of[id]) == unknown
}

// admit reports whether a record of that generation may be used, and remembers that it was.
func (f *floors) admit(id string, generation int64) bool {
	f.mu.RLock()
	current, ok := f.now.of[id]
	older := f.before.of[id]
	f.mu.RUnlock()
	if generation < max(current, older) {
		return false
	}
	if !ok || current < generation {
		f.raise(id, generation)
	}
	return true
}

// raise remembers that a document has that generation or a newer one.
func (f *floors) raise(id string, generation int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if current, ok := f.now.of[id]; ok || len(f.now.of) < maxFloors {
		f.now.of[id] = max(current, generation)
	} else {
		f.now.full = true
	}
	f.rotate()
}

// gone remembers that a document that was seen is not there any more. Of one that never was, a look-up of a name
// at random, there is nothing to remember.
func (f *floors) gone(id string) {
	f.mu.RLock()
	_, ok := f.now.of[id]
	_, before := f.before.of[id]
	f.mu.RUnlock()
	if ok || before {
		f.raise(id, unknown)
	}
}

// rotate sees to it that what is remembered is forgotten in time. Timers may be late, as when a process gets no
// time between requests; that does no harm.
func (f *floors) rotate() {
	if f.rotating {
		return
	}
	f.rotating = true
	time.AfterFunc(f.span, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.rotating = false
		f.before, f.now = f.now, generations{of: make(map[string]int64)}
		if len(f.before.of) > 0 || f.before.full {
			f.rotate()
		}
	})
}
