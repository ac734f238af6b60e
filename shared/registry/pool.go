package registry

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/isectech/service-networking/shared/auth"
)

// pool is the instances of one service in one environment, ready to be picked from. Its table is built
// at the first pick after a change, so that a change costs the same whatever the service's size.
type pool struct {
	count    int // instances, whatever their state
	counters *counters
	build    sync.Mutex
	table    atomic.Pointer[table]
	epoch    atomic.Uint64 // moves when a lease that had ended is renewed, which no new snapshot tells
}

// renew returns the pool for the next snapshot, or nil when it has no instances left. The counters stay,
// so that a change does not send everyone back to the first instance.
func (p *pool) renew(delta int) *pool {
	if p == nil {
		return &pool{count: delta, counters: new(counters)}
	}
	if p.count+delta <= 0 {
		return nil
	}
	return &pool{count: p.count + delta, counters: p.counters}
}

// counters holds the position of each endpoint's round robin.
type counters struct {
	mu sync.Mutex
	of map[string]*atomic.Uint64
}

func (c *counters) get(endpoint string) *atomic.Uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.of[endpoint]
	if !ok {
		if c.of == nil {
			c.of = make(map[string]*atomic.Uint64)
		}
		n = new(atomic.Uint64)
		// Processes start anywhere in the round; all at its first instance would be a stampede.
		n.Store(maphash.String(maphash.MakeSeed(), endpoint) >> 1)
		c.of[endpoint] = n
	}
	return n
}

// prune forgets the counters of endpoints that are in no table any more.
func (c *counters) prune(sets []set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.of {
		if _, ok := find(sets, name); !ok {
			delete(c.of, name)
		}
	}
}

// table is the endpoints of a pool with the instances that each may be reached at.
type table struct {
	epoch uint64
	sets  []set // by name
}

// set is one endpoint of a pool.
type set struct {
	name     string
	counter  *atomic.Uint64
	healthy  ring
	degraded ring // used where nothing healthy is left
}

func find(sets []set, endpoint string) (*set, bool) {
	i, ok := slices.BinarySearchFunc(sets, endpoint, func(s set, name string) int { return cmp.Compare(s.name, name) })
	if !ok {
		return nil, false
	}
	return &sets[i], true
}

// ready returns the pool's table, building it from the snapshot that the pool belongs to where a change
// has made that necessary. Instances whose lease has ended are left out; those whose lease ends later
// are passed over by the pick.
func (p *pool) ready(s *Snapshot, name string, env auth.Environment, now int64) *table {
	if t := p.table.Load(); t != nil && t.epoch == p.epoch.Load() {
		return t
	}
	p.build.Lock()
	defer p.build.Unlock()
	t := &table{epoch: p.epoch.Load()}
	if built := p.table.Load(); built != nil && built.epoch == t.epoch {
		return built
	}
	type members struct{ healthy, degraded []candidate }
	byEndpoint := make(map[string]*members)
	for id := range s.postings.ids(byName, name, "") {
		e, _ := s.entries.get(id)
		if e.Environment != env || e.Weight == 0 || e.lapsed(now) || e.Status != Healthy && e.Status != Degraded {
			continue
		}
		for i := range e.Endpoints {
			m := byEndpoint[e.Endpoints[i].Name]
			if m == nil {
				m = new(members)
				byEndpoint[e.Endpoints[i].Name] = m
			}
			if c := (candidate{entry: e, endpoint: &e.Endpoints[i]}); e.Status == Healthy {
				m.healthy = append(m.healthy, c)
			} else {
				m.degraded = append(m.degraded, c)
			}
		}
	}
	for endpoint, m := range byEndpoint {
		t.sets = append(t.sets, set{endpoint, p.counters.get(endpoint), newRing(m.healthy), newRing(m.degraded)})
	}
	slices.SortFunc(t.sets, func(a, b set) int { return cmp.Compare(a.name, b.name) })
	p.counters.prune(t.sets)
	p.table.Store(t)
	return t
}
