package security

import (
	"hash/maphash"
	"sync"
)

// ways is how many entries share a lock and compete for room.
const ways = 4

// table remembers a value for each of the last keys, in memory that is given it once. A key that finds no room
// takes that of the one not used for longest: what is forgotten may go unnoticed, and nothing is made up.
type table[V any] struct {
	seed maphash.Seed // not to be guessed, so that nobody can choose whom to drive out
	keys int
	made sync.Once // at the first key, so that a start does not wait for memory
	sets []set[V]
}

type set[V any] struct {
	mu   sync.Mutex
	ways [ways]way[V]
}

type way[V any] struct {
	key   uint64
	used  int64 // 0: free
	value V
}

// newTable returns a table for as many keys; a power of two.
func newTable[V any](keys int) *table[V] {
	return &table[V]{seed: maphash.MakeSeed(), keys: keys}
}

// hash returns what stands for a key, and never 0.
func (t *table[V]) hash(key string) uint64 { return maphash.String(t.seed, key) | 1 }

// lock returns the value of a key at a time, a zero one where there was none. The caller unlocks it.
func (t *table[V]) lock(key uint64, now int64) (*V, *sync.Mutex) {
	t.made.Do(func() { t.sets = make([]set[V], t.keys/ways) })
	s := &t.sets[(key>>1)%uint64(len(t.sets))]
	s.mu.Lock()
	oldest := &s.ways[0]
	for i := range s.ways {
		w := &s.ways[i]
		if w.key == key {
			w.used = now
			return &w.value, &s.mu
		}
		if w.used < oldest.used {
			oldest = w
		}
	}
	*oldest = way[V]{key: key, used: now}
	return &oldest.value, &s.mu
}
