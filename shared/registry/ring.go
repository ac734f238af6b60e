package registry

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
)

// candidate is an instance at one of its endpoints. It holds all that a pick reads, lying together.
type candidate struct {
	until atomic.Int64 // the end of the lease when it was last looked at, which is seldom: it moves on only, or a new table is built
	lease *lease       // nil: for ever
	Choice
}

func (c *candidate) lapsed(now int64) bool {
	if c.until.Load() > now {
		return false
	}
	end := c.lease.end.Load()
	if end > now {
		c.until.Store(end)
	}
	return end <= now
}

// ring is the order in which candidates take their turns, worked out beforehand: each as often as its
// weight says, and its turns spread evenly over the round.
type ring struct {
	candidates []candidate
	turns      []uint32 // indexes of candidates; nil where all weigh the same
}

// The longest round is slotsPerCandidate turns a candidate, but at least minSlots. Weights that would
// need more are rounded to it, each candidate keeping at least one turn.
const (
	minSlots          = 8192
	slotsPerCandidate = 8
)

// newRing arranges instances that have the endpoint.
func newRing(entries []*entry, endpoint string) ring {
	r := ring{candidates: make([]candidate, len(entries))}
	weights, total, same := make([]int, len(entries)), 0, true
	divisor := 0
	for i, e := range entries {
		at, _ := e.endpoint(endpoint)
		c := &r.candidates[i]
		c.lease, c.Choice = e.lease, choose(e, at)
		if c.until.Store(math.MaxInt64); e.lease != nil {
			c.until.Store(e.lease.end.Load())
		}
		weights[i] = e.Weight
		total += weights[i]
		divisor = gcd(divisor, weights[i])
		same = same && weights[i] == weights[0]
	}
	if same {
		return r
	}
	scale := 1 / float64(divisor)
	if longest := max(minSlots, slotsPerCandidate*len(entries)); total/divisor > longest {
		scale = float64(longest) / float64(total)
	}
	// A candidate with n turns takes its k-th at (k+½)/n of the round.
	type turn struct {
		at        float64
		candidate uint32
	}
	turns := make([]turn, 0, int(float64(total)*scale)+len(entries))
	for i, w := range weights {
		n := max(1, int(float64(w)*scale+0.5))
		for k := range n {
			turns = append(turns, turn{(float64(k) + 0.5) / float64(n), uint32(i)})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.candidate, b.candidate))
	})
	r.turns = make([]uint32, len(turns))
	for i, t := range turns {
		r.turns[i] = t.candidate
	}
	return r
}

// at returns whose turn it is at position n, passing over those whose lease has ended, and how many were
// passed over. It returns nil when no one is left.
func (r *ring) at(n uint64, now int64) (c *candidate, passed int) {
	length := len(r.turns)
	if r.turns == nil {
		length = len(r.candidates)
	}
	if length == 0 {
		return nil, 0
	}
	i := int(n % uint64(length)) //nolint:gosec // G115: less than a length
	for ; passed < length; passed++ {
		if r.turns == nil {
			c = &r.candidates[i]
		} else {
			c = &r.candidates[r.turns[i]]
		}
		if !c.lapsed(now) {
			return c, passed
		}
		if i++; i == length {
			i = 0
		}
	}
	return nil, passed
}

// crowded reports whether so many turns were passed over that the ring is better built anew without them.
func (r *ring) crowded(passed int) bool { return passed > 8+len(r.candidates)/16 }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
