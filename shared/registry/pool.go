package registry

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/isectech/service-networking/shared/auth"
)

// pool is the instances of one service in one environment, ready to be picked from. Its table is built
// at the first pick after a change, so that a change costs the same whatever the service's size.
type pool struct {
	count  int                   // instances, whatever their state
	sum    uint64                // of the prints of its instances: what is the same adds up to the same
	before atomic.Pointer[table] // until table is built, the last one of an earlier snapshot: its rounds go on
	table  atomic.Pointer[table] // nil until it is built
	epoch  atomic.Uint64         // moves when a lease that had ended is renewed or one is cut short, which no new snapshot tells
	build  sync.Mutex
}

// renew returns the pool for the next snapshot, or nil when it has no instances left.
func (p *pool) renew(delta int, sum uint64) *pool {
	if p == nil {
		return &pool{count: delta, sum: sum}
	}
	if p.count+delta <= 0 {
		return nil
	}
	next := &pool{count: p.count + delta, sum: p.sum + sum}
	next.before.Store(p.before.Load())
	if t := p.table.Load(); t != nil { // read after before, as it is written before that is cleared
		next.before.Store(t)
	}
	return next
}

// table is the endpoints of a pool with the instances that each may be reached at.
type table struct {
	epoch uint64
	sets  []set // by name
}

// set is one endpoint of a pool.
type set struct {
	name     string
	turn     atomic.Uint64 // the position of the round robin
	healthy  ring
	degraded ring // used where nothing healthy is left
}

// newTable returns a table of so many sets. The only one, which is what most services have, lies beside
// its table.
func newTable(epoch uint64, sets int) *table {
	if sets != 1 {
		return &table{epoch, make([]set, sets)}
	}
	together := &struct {
		table
		only [1]set
	}{}
	together.table = table{epoch, together.only[:]}
	return &together.table
}

func (t *table) find(endpoint string) *set {
	low, high := 0, len(t.sets)
	for low < high {
		switch middle := (low + high) / 2; {
		case t.sets[middle].name == endpoint:
			return &t.sets[middle]
		case t.sets[middle].name < endpoint:
			low = middle + 1
		default:
			high = middle
		}
	}
	return nil
}

// firstTurn returns where the round of an endpoint begins: where it was, so that a change does not send
// everyone back to the first instance; or anywhere, since processes that start together and all begin
// with the first would be a stampede.
func firstTurn(before *table, endpoint string) uint64 {
	if before != nil {
		if s := before.find(endpoint); s != nil {
			return s.turn.Load()
		}
	}
	return maphash.String(maphash.MakeSeed(), endpoint) >> 1
}

// ready returns the table, or nil where it must be built first.
func (p *pool) ready() *table {
	if t := p.table.Load(); t != nil && t.epoch == p.epoch.Load() {
		return t
	}
	return nil
}

// rebuild builds the table from the snapshot that the pool belongs to. Instances whose lease has ended
// are left out; those whose lease ends later are passed over by the pick.
func (p *pool) rebuild(s *Snapshot, name string, env auth.Environment, now int64) *table {
	p.build.Lock()
	defer p.build.Unlock()
	epoch, before := p.epoch.Load(), p.before.Load()
	if built := p.table.Load(); built != nil {
		if built.epoch == epoch {
			return built
		}
		before = built
	}
	type members struct{ healthy, degraded []*entry }
	byEndpoint := make(map[string]*members)
	for id := range s.postings.ids(byName, name, "") {
		e, _ := s.entries.get(id)
		if e.Environment != env || e.Weight == 0 || e.Status != Healthy && e.Status != Degraded || e.missed(now) {
			continue
		}
		for i := range e.Endpoints {
			m := byEndpoint[e.Endpoints[i].Name]
			if m == nil {
				m = new(members)
				byEndpoint[e.Endpoints[i].Name] = m
			}
			if e.Status == Healthy {
				m.healthy = append(m.healthy, e)
			} else {
				m.degraded = append(m.degraded, e)
			}
		}
	}
	t := newTable(epoch, len(byEndpoint))
	for i, endpoint := range slices.Sorted(maps.Keys(byEndpoint)) {
		m, s := byEndpoint[endpoint], &t.sets[i]
		s.name, s.healthy, s.degraded = endpoint, newRing(m.healthy, endpoint), newRing(m.degraded, endpoint)
		s.turn.Store(firstTurn(before, endpoint))
	}
	p.table.Store(t)
	p.before.Store(nil)
	return t
}
