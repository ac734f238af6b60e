package balance

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/isectech/service-networking/shared/registry"
)

// table is what picks are made from: it is made anew when something changes and is not changed itself.
type table struct {
	ready  []*instance
	shares []float64   // of the calls, of each of ready
	slots  []slot      // as many as ready
	probes []*instance // open ones that are due, the longest due first
	panic  bool
	next   int64 // when time alone makes another table
}

// slot is one of the equal parts that the draws are divided into. Its lower part, up to the bound, is that of the
// instance of its own number and the rest is another's (Walker's alias method): a draw takes two steps, however
// many instances there are and however their weights differ.
type slot struct {
	bound uint64
	alias int
}

// at returns which of ready a draw falls on.
func (t *table) at(draw uint64) int {
	i, within := bits.Mul64(draw, uint64(len(t.ready)))
	if s := &t.slots[i]; within >= s.bound {
		return s.alias
	}
	return int(i) //nolint:gosec // G115: less than a length
}

// busier reports whether one has more calls under way than the other, each for its share.
func (t *table) busier(one, other int) bool {
	return float64(t.ready[one].outstanding.Load())*t.shares[other] > float64(t.ready[other].outstanding.Load())*t.shares[one]
}

// rebuild makes the table for a moment. Its caller holds the lock.
func (b *Balancer) rebuild(now int64) *table {
	if b.probe != nil && now >= b.lost {
		b.probe.epoch.Add(1) // whatever it still says comes too late
		b.setProbe(nil, 0)
	}
	candidates, desperate := usable(b.all)
	t := &table{panic: desperate, next: never}
	out := b.leaveOut(candidates, t)
	left := make(map[*instance]bool, len(out))
	for _, i := range out {
		left[i] = true
	}
	for _, i := range candidates {
		if !left[i] {
			t.ready = append(t.ready, i)
		}
	}
	for _, i := range out {
		switch {
		case i.known == b.probe:
		case i.circuit.due <= now:
			t.probes = append(t.probes, i)
		default:
			t.next = min(t.next, i.circuit.due)
		}
	}
	slices.SortStableFunc(t.probes, func(x, y *instance) int { return cmp.Compare(x.circuit.due, y.circuit.due) })
	if b.probe != nil {
		t.next = min(t.next, b.lost)
	}
	t.shares = shares(candidates, t.ready, b.options.Region, b.options.Zone)
	t.slots = aliases(t.shares)
	b.table.Store(t)
	return t
}

// usable returns those that may be called: healthy, or else degraded ones. When there is neither, those that have
// failed their checks are called all the same, and desperate is true: a fault of the checks or of everything at
// once looks the same from here, and calling nobody cures neither.
func usable(all []*instance) (candidates []*instance, desperate bool) {
	for _, status := range []registry.Status{registry.Healthy, registry.Degraded, registry.Unhealthy} {
		for _, i := range all {
			if i.Status == status && i.Weight > 0 {
				candidates = append(candidates, i)
			}
		}
		if len(candidates) > 0 {
			return candidates, status == registry.Unhealthy
		}
	}
	return nil, false
}

// leaveOut returns those whose circuits are open, the first that opened first, but no more than may be left out.
// When there are more, the table is one of panic.
func (b *Balancer) leaveOut(candidates []*instance, t *table) []*instance {
	var open []*instance
	for _, i := range candidates {
		if i.circuit.open {
			open = append(open, i)
		}
	}
	limit := len(candidates) * b.options.MaxEjected / 100
	if len(open) <= limit {
		return open
	}
	t.panic = true
	slices.SortFunc(open, func(x, y *instance) int { return cmp.Compare(x.circuit.order, y.circuit.order) })
	return open[:limit]
}

// aliases makes the slots for shares that sum up to 1 (Vose's construction).
func aliases(shares []float64) []slot {
	n := len(shares)
	slots := make([]slot, n)
	scaled := make([]float64, n)
	var small, large []int
	for i, s := range shares {
		if scaled[i] = s * float64(n); scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		less, more := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		slots[less] = slot{bound(scaled[less]), more}
		if scaled[more] -= 1 - scaled[less]; scaled[more] < 1 {
			large = large[:len(large)-1]
			small = append(small, more)
		}
	}
	for _, i := range append(small, large...) {
		slots[i] = slot{math.MaxUint64, i} // what is left of 1 is a rounding error
	}
	return slots
}

// bound returns a share of 2⁶⁴.
func bound(share float64) uint64 {
	if share <= 0 {
		return 0
	}
	return uint64(share * (1 << 63) * 2)
}
