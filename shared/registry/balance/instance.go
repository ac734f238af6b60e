package balance

import (
	"math"
	"sync/atomic"
)

// instance is one endpoint with what calls have taught about it.
type instance struct {
	Endpoint
	*known
}

// known is what stays known of an instance while it is in the set.
type known struct {
	outstanding atomic.Int64
	epoch       atomic.Uint64 // moves whenever the circuit does: what was begun before says nothing about after
	failing     atomic.Bool   // whether circuit has anything to forget at a success
	circuit     circuit       // of the balancer's lock
}

// Outcome is what became of a call.
type Outcome uint8

// The outcomes there are.
const (
	// Ignored says nothing about the instance: its caller gave up.
	Ignored Outcome = iota
	// Success is an answer, also one that refuses (4xx).
	Success
	// Failure is an error of the instance (5xx), a broken connection or a timeout.
	Failure
)

// never is a time that does not come.
const never = math.MaxInt64

// circuit is the breaker of one instance: a pure state machine. Closed it counts failures; open it waits until it
// is due; then it is half open: one call is let through to see, whose failure opens it for another while.
type circuit struct {
	failures int    // in a row, while it is closed
	open     bool   // the instance is left out
	order    uint64 // its place among those that opened
	due      int64  // when an open one is to be tried
}

// fail takes a failure, of a trial or of any other call, and reports whether something changed. A circuit that
// opens is due later and gets the order.
func (c *circuit) fail(trial bool, limit int, due int64, order uint64) (moved bool) {
	if c.open {
		if trial {
			c.due = due
		}
		return trial // other calls went there for want of others, and tell nothing new
	}
	if c.failures++; c.failures < limit {
		return false
	}
	*c = circuit{open: true, due: due, order: order}
	return true
}

// succeed takes a success, and reports whether the circuit closed.
func (c *circuit) succeed() (moved bool) {
	moved = c.open
	*c = circuit{}
	return moved
}

// Done reports what became of the call and releases it.
func (p Pick) Done(o Outcome) {
	p.Report(o)
	p.Release()
}

// Release counts the call as ended.
func (p Pick) Release() { p.at.outstanding.Add(-1) }

// Report says what became of the call. What was begun before the circuit opened or closed is not counted after it.
func (p Pick) Report(o Outcome) {
	if o == Success && !p.Probe && !p.at.failing.Load() {
		return
	}
	p.balancer.report(p, o)
}

func (b *Balancer) report(p Pick, o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := p.at.known
	if p.epoch != known.epoch.Load() {
		return
	}
	trial := p.Probe && b.probe == known
	if trial {
		b.setProbe(nil, 0)
	}
	c, now := &known.circuit, b.now()
	moved := trial // the next in line may be tried
	switch o {
	case Success:
		moved = c.succeed() || moved
	case Failure:
		wasOpen := c.open
		moved = c.fail(trial, b.options.Failures, now+int64(b.options.OpenFor), b.opens+1) || moved
		if c.open && !wasOpen {
			b.opens++
		}
	default:
		if trial {
			c.due = now // still to be tried, after the others
		}
	}
	known.failing.Store(c.open || c.failures > 0)
	if moved {
		known.epoch.Add(1)
		b.rebuild(now)
	}
}

// try picks the instance that has waited longest for a trial, unless one is under way.
func (b *Balancer) try() (Pick, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.table.Load()
	if b.probe != nil || len(t.probes) == 0 {
		return Pick{}, false
	}
	i := t.probes[0]
	now := b.now()
	b.setProbe(i.known, now+int64(b.options.OpenFor))
	b.rebuild(now)
	p := b.take(b.table.Load(), i)
	p.Probe = true
	return p, true
}

// setProbe remembers which instance is being tried, and until when at most.
func (b *Balancer) setProbe(k *known, lost int64) {
	b.probe, b.lost = k, lost
	b.trying.Store(k != nil)
}
