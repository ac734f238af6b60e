package policy

import (
	"iter"

	"github.com/isectech/service-networking/shared/auth"
)

// pair keys what lies between a caller and a target; {sub, zero} keys what a subject is by itself.
type pair struct{ caller, target auth.Subject }

// hash mixes the hashes of both subjects, which are random already, so that the order counts.
func (k pair) hash() uint64 { return k.caller.Hash()*0x9e3779b97f4a7c15 ^ k.target.Hash() }

// table is a hash table that is filled once and then read by every decision. It is what Go's map is but
// for the hashing, which was done when the names were read.
type table[V any] struct {
	slots []slot[V] // a power of two of them, at least a quarter of them empty
	mask  uint64    // one less than there are
}

type slot[V any] struct {
	key   pair // its caller is zero where nothing is
	value V
}

// newTable returns a table with room for n entries.
func newTable[V any](n int) table[V] {
	bits := 2
	for 1<<bits*3/4 <= n {
		bits++
	}
	return table[V]{slots: make([]slot[V], 1<<bits), mask: 1<<bits - 1}
}

// get returns the place of the value of a key, nil where it has none.
func (t *table[V]) get(key pair) *V {
	if key.caller.IsZero() {
		return nil
	}
	for i := key.hash(); ; i++ {
		s := &t.slots[i&t.mask]
		if s.key == key {
			return &s.value
		}
		if s.key.caller.IsZero() {
			return nil
		}
	}
}

// put returns the place of the value of a key that is not zero, which is made where it has none.
func (t *table[V]) put(key pair) *V {
	for i := key.hash(); ; i++ {
		s := &t.slots[i&t.mask]
		if s.key.caller.IsZero() {
			s.key = key
		}
		if s.key == key {
			return &s.value
		}
	}
}

// keys yields the keys.
func (t *table[V]) keys() iter.Seq2[pair, struct{}] {
	return func(yield func(pair, struct{}) bool) {
		for i := range t.slots {
			if !t.slots[i].key.caller.IsZero() && !yield(t.slots[i].key, struct{}{}) {
				return
			}
		}
	}
}
