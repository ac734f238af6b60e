// Package balance chooses, for one caller, which instance of a service is called next.
//
// A Balancer is given the endpoints of a service and hands out one at a time, by weighted round robin or to the
// less busy of two, near the caller first. It learns from what becomes of the calls: an instance that fails five
// times in a row is left out (its circuit opens) and is tried again with one call after a while. No more than a
// part of the instances are ever left out like this, since a fault that all of them share is not cured by calling
// nobody: a pick says when it had to go beyond that.
//
// Picking takes the same time whatever the number of instances, and does not allocate. Everything else is done
// when something changes. The clock is given, and the same seed makes the same choices.
package balance

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/registry"
)

// Endpoint is where one instance is reached, with what the choice is made from.
type Endpoint struct {
	registry.Choice
	Weight       int             // share of the traffic; 0: never picked
	Region, Zone string          // where it runs; empty where it does not say
	Status       registry.Status // healthy ones are picked; degraded ones where none is
}

// Policy is how one is chosen among the instances that may be called.
type Policy uint8

// The policies there are.
const (
	// LeastOutstanding draws two by weight and takes the one with fewer calls under way for its weight.
	LeastOutstanding Policy = iota
	// RoundRobin gives each its turns by weight, evenly spread.
	RoundRobin
)

// Options are what a Balancer is made of. Now is required.
type Options struct {
	Now          func() time.Time
	Seed         uint64 // of the draws; callers that share one choose alike
	Policy       Policy
	Region, Zone string // where the caller runs; empty: it prefers nobody

	Failures   int           // in a row that open an instance's circuit; 0 means 5
	OpenFor    time.Duration // how long it is open before the instance is tried again; 0 means 30 s
	MaxEjected int           // how much of the instances may be left out by open circuits, in percent; 0 means 50, less means none
}

// Balancer chooses among the endpoints that it was given last. It is safe for concurrent use.
type Balancer struct {
	options Options
	turn    atomic.Uint64
	table   atomic.Pointer[table]

	trying atomic.Bool // whether probe is set

	mu    sync.Mutex // of all below, and of the instances' circuits
	all   []*instance
	opens uint64 // how many circuits have opened
	probe *known // the instance that is being tried, if any
	lost  int64  // when a trial that nobody reported on is given up
}

// New returns a Balancer without endpoints.
func New(o Options) *Balancer {
	o.Failures = cmp.Or(o.Failures, 5)
	o.OpenFor = cmp.Or(o.OpenFor, 30*time.Second)
	o.MaxEjected = min(max(cmp.Or(o.MaxEjected, 50), 0), 100)
	b := &Balancer{options: o}
	b.table.Store(&table{next: never})
	return b
}

// Set replaces the endpoints. What is known of an instance that stays at its address is kept, and all else
// forgotten, so that memory is bounded by what is set. Of two with one id the first counts.
func (b *Balancer) Set(endpoints []Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := make(map[string]*instance, len(b.all))
	for _, i := range b.all {
		before[i.ServiceID] = i
	}
	seen := make(map[string]bool, len(endpoints))
	all := make([]*instance, 0, len(endpoints))
	kept := false
	for _, e := range endpoints {
		if seen[e.ServiceID] {
			continue
		}
		seen[e.ServiceID] = true
		next := &instance{Endpoint: e, known: new(known)}
		if was := before[e.ServiceID]; was != nil && was.Choice == e.Choice {
			next.known = was.known
			kept = kept || b.probe == was.known
		}
		all = append(all, next)
	}
	if !kept {
		b.setProbe(nil, 0) // it is gone, or has moved
	}
	b.all = all
	b.rebuild(b.now())
}

// ErrNone is the error of a pick among none.
var ErrNone = errors.New("no instance can be called")

// Pick is an instance to call. Report says what became of the call and Release that it has ended, each once;
// Done does both.
type Pick struct {
	*Endpoint      // not to be changed
	Panic     bool // so much has failed that instances are called which would be left out otherwise
	Probe     bool // an instance whose circuit was open is being tried

	balancer *Balancer
	at       *instance
	epoch    uint64
}

// Pick chooses the next instance. Its only error is ErrNone.
func (b *Balancer) Pick() (Pick, error) {
	t := b.upToDate()
	if len(t.probes) > 0 && !b.trying.Load() {
		if p, ok := b.try(); ok {
			return p, nil
		}
	}
	if len(t.ready) == 0 {
		return Pick{}, ErrNone
	}
	return b.take(t, b.draw(t)), nil
}

// PickOther chooses an instance other than the one of an id, for a second attempt.
func (b *Balancer) PickOther(id string) (Pick, error) {
	t := b.upToDate()
	for range 4 {
		if len(t.ready) == 0 {
			break
		}
		if i := b.draw(t); i.ServiceID != id {
			return b.take(t, i), nil
		}
	}
	for _, i := range t.ready { // a heavy one was drawn again and again
		if i.ServiceID != id {
			return b.take(t, i), nil
		}
	}
	return Pick{}, fmt.Errorf("beside %s: %w", id, ErrNone)
}

// Panic reports whether picks go to instances that would be left out if there were others.
func (b *Balancer) Panic() bool { return b.upToDate().panic }

// draw chooses by policy.
func (b *Balancer) draw(t *table) *instance {
	n := b.turn.Add(1)
	if len(t.ready) == 1 {
		return t.ready[0]
	}
	if b.options.Policy == RoundRobin {
		// The multiples of the golden ratio, modulo 1, lie evenly wherever one looks: every stretch of turns
		// gives each its share.
		return t.ready[t.at(mix(b.options.Seed)+n*golden)]
	}
	first := mix(b.options.Seed + n*golden)
	one, other := t.at(first), t.at(mix(first))
	if t.busier(one, other) {
		one = other
	}
	return t.ready[one]
}

// golden is 2⁶⁴ divided by the golden ratio.
const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of splitmix64: neighbours come out unrelated.
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// RandomSeed returns a seed for a caller that is to choose unlike others.
func RandomSeed() uint64 { return rand.Uint64() } //nolint:gosec // G404: spreads load, hides nothing

func (b *Balancer) take(t *table, i *instance) Pick {
	i.outstanding.Add(1)
	return Pick{Endpoint: &i.Endpoint, Panic: t.panic, balancer: b, at: i, epoch: i.epoch.Load()}
}

func (b *Balancer) now() int64 { return b.options.Now().UnixNano() }

// upToDate returns the table after what time alone changes.
func (b *Balancer) upToDate() *table {
	t := b.table.Load()
	if t.next == never {
		return t
	}
	now := b.now()
	if now < t.next {
		return t
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t = b.table.Load(); now >= t.next {
		t = b.rebuild(now)
	}
	return t
}
