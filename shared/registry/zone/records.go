package zone

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/endpoint"
)

// Records returns the sets of records of one alias of a service: its own, and those below it, by name and type.
// serving are the service's instances in an environment, as View.Serving yields them. The same instances in any
// order give the same sets.
func Records(alias string, env auth.Environment, ttl int64, serving iter.Seq[registry.Instance]) []Set {
	if !label(alias) {
		return nil
	}
	healthy, degraded := make(pool), make(pool)
	policy := endpoint.Policy{}
	if env == auth.Development { // elsewhere nothing on the machine itself can be registered
		policy.Allow = endpoint.LoopbackNetworks()
	}
	anyHealthy := false
	for i := range serving {
		if i.Environment != env || i.Status != registry.Healthy && i.Status != registry.Degraded {
			continue
		}
		into := degraded
		if i.Status == registry.Healthy {
			into, anyHealthy = healthy, true
		}
		into.add(i.Registration, policy)
	}
	z := builder{alias: alias, ttl: ttl, sets: make(map[Key]*Set)}
	for _, name := range endpoints(healthy, degraded) {
		targets, ok := healthy[name]
		if !ok {
			targets = degraded[name]
		}
		z.service(name, targets)
	}
	if anyHealthy {
		z.addresses(healthy[""])
	} else {
		z.addresses(degraded[""])
	}
	return z.sorted()
}

// endpoints returns the names of the endpoints that are published, which end as labels may.
func endpoints(pools ...pool) []string {
	names := make(map[string]bool)
	for _, p := range pools {
		for name := range p {
			if name != "" && label("_"+name) {
				names[name] = true
			}
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	return sorted[:min(MaxEndpoints, len(sorted))]
}

// target is where an endpoint is reached.
type target struct {
	addr netip.Addr // not valid for a host name
	host string
	port uint16
}

func (t target) compare(o target) int {
	return cmp.Or(t.addr.Compare(o.addr), cmp.Compare(t.host, o.host), cmp.Compare(t.port, o.port))
}

// pool is the targets of each endpoint with the weight that leads there, and under "" the addresses of them all.
type pool map[string]map[target]int

func (p pool) add(r registry.Registration, policy endpoint.Policy) {
	counted := make(map[target]bool) // an instance's weight once for each of its addresses
	for _, e := range r.Endpoints {
		u, err := policy.Judge(e.URL)
		if err != nil {
			continue // not registered under the rules of today
		}
		if !u.Addr.IsValid() {
			if strings.Contains(u.Host, ".") || u.Host == "localhost" { // others mean something by search lists alone
				p.count(e.Name, target{host: u.Host, port: u.Port}, r.Weight)
			}
			continue
		}
		addr := u.Addr.Unmap()
		p.count(e.Name, target{addr: addr, port: u.Port}, r.Weight)
		if at := (target{addr: addr}); !counted[at] {
			counted[at] = true
			p.count("", at, r.Weight)
		}
	}
}

func (p pool) count(name string, t target, weight int) {
	if p[name] == nil {
		p[name] = make(map[target]int)
	}
	p[name][t] += weight
}

// builder collects the sets of an alias.
type builder struct {
	alias string
	ttl   int64
	sets  map[Key]*Set
	hosts int // names of addresses among them
}

// maxSRVWeight is what a service record has room for.
const maxSRVWeight = 1<<16 - 1

// service adds the service records of an endpoint, and the addresses of the hosts that they lead to.
func (b *builder) service(name string, targets map[target]int) {
	owner := "_" + name + "._tcp." + Name(b.alias)
	for _, t := range heaviest(targets, MaxRecords) {
		to := t.host + "."
		if t.addr.IsValid() {
			to = host(t.addr, b.alias)
			if !b.host(Key{to, typeOf(t.addr)}, t.addr) {
				continue
			}
		}
		s := b.set(Key{owner, SRV})
		s.Data = append(s.Data, fmt.Sprintf("0 %d %d %s", min(targets[t], maxSRVWeight), t.port, to))
	}
}

// host adds the name of an address, if there is room for it.
func (b *builder) host(k Key, addr netip.Addr) bool {
	if _, ok := b.sets[k]; ok {
		return true
	}
	if b.hosts == MaxHosts {
		return false
	}
	b.hosts++
	b.set(k).Data = []string{addr.String()}
	return true
}

// addresses adds the addresses of the alias itself.
func (b *builder) addresses(targets map[target]int) {
	for _, family := range []string{A, AAAA} {
		of := maps.Collect(func(yield func(target, int) bool) {
			for t, weight := range targets {
				if typeOf(t.addr) == family && !yield(t, weight) {
					return
				}
			}
		})
		for _, t := range heaviest(of, MaxRecords) {
			s := b.set(Key{Name(b.alias), family})
			s.Data = append(s.Data, t.addr.String())
		}
	}
}

func (b *builder) set(k Key) *Set {
	s, ok := b.sets[k]
	if !ok {
		s = &Set{Key: k, TTL: b.ttl}
		b.sets[k] = s
	}
	return s
}

func (b *builder) sorted() []Set {
	sets := make([]Set, 0, len(b.sets))
	for _, s := range b.sets {
		sets = append(sets, *s)
	}
	slices.SortFunc(sets, byKey)
	return sets
}

// heaviest returns at most n targets, those with the greatest weight, in an order that depends on nothing else.
func heaviest(targets map[target]int, n int) []target {
	all := slices.SortedFunc(maps.Keys(targets), func(a, b target) int {
		return cmp.Or(cmp.Compare(targets[b], targets[a]), a.compare(b))
	})
	all = all[:min(n, len(all))]
	slices.SortFunc(all, target.compare)
	return all
}
