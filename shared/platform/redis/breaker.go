package redis

import (
	"sync"
	"time"
)

// State is that of a circuit breaker.
type State string

// The states there are.
const (
	StateClosed   State = "closed"    // calls are made
	StateOpen     State = "open"      // calls fail at once
	StateHalfOpen State = "half_open" // one call tries, the others fail at once
)

// outcome is what a call says about Redis.
type outcome int

const (
	inconclusive outcome = iota // nothing: the caller went away
	success
	failure
)

// permit is the leave to make a call.
type permit struct{ probe bool }

// breaker stops calls that are most likely to fail.
type breaker struct {
	threshold int
	cooldown  time.Duration
	now       func() time.Time

	mu       sync.Mutex
	failures int       // in a row
	open     bool      // or half open
	since    time.Time // of the last failure of those that keep it open
	probing  bool
}

func newBreaker(threshold int, cooldown time.Duration, now func() time.Time) *breaker {
	return &breaker{threshold: threshold, cooldown: cooldown, now: now}
}

// allow asks for leave. Whoever gets it calls record.
func (b *breaker) allow() (permit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return permit{}, true
	}
	if b.probing || !b.cool() {
		return permit{}, false
	}
	b.probing = true
	return permit{probe: true}, true
}

// cool reports whether it has been open for long enough. A clock that was set back does not keep it open.
func (b *breaker) cool() bool {
	passed := b.now().Sub(b.since)
	return passed < 0 || passed >= b.cooldown
}

// record takes in how a call went, and reports whether it opened the breaker or kept it open.
func (b *breaker) record(p permit, o outcome) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.probe {
		b.probing = false
	}
	switch {
	case o == inconclusive:
		return false
	case b.open && !p.probe:
		return false // began before it opened, and says nothing of now
	case o == success:
		b.failures, b.open = 0, false
		return false
	}
	b.failures++
	if b.failures < b.threshold && !p.probe {
		return false
	}
	b.open, b.since = true, b.now()
	return true
}

// State returns the state it is in.
func (b *breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return StateClosed
	case b.probing || b.cool():
		return StateHalfOpen
	default:
		return StateOpen
	}
}
