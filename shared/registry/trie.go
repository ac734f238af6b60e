package registry

import (
	"hash/maphash"
	"iter"
	"slices"
)

// trie is an immutable map from strings to values: with and without return a changed copy that shares all
// but three small nodes with the original. A lookup is a hash, two indexed loads and a scan of a bucket of
// some 25 hashes at 100,000 keys; a change costs the same at any size up to about a million.
type trie[V any] struct {
	root *[fanOut]*[fanOut]bucket[V]
	size int
}

const fanOut = 64

type bucket[V any] []slot[V]

type slot[V any] struct {
	hash  uint64
	key   string
	value V
}

// seed makes the places of keys unforeseeable, so that nobody can choose names that share a bucket.
var seed = maphash.MakeSeed()

// hashOf is where a key is found, unless those who get, put and drop it agree on another place.
func hashOf(key string) uint64 { return maphash.String(seed, key) }

func (t *trie[V]) get(key string) (value V, ok bool) { return t.find(hashOf(key), key) }

func (t *trie[V]) find(h uint64, key string) (value V, ok bool) {
	if at := t.at(h, key); at != nil {
		return *at, true
	}
	return value, false
}

// at returns where the value lies, which must not be changed, or nil.
func (t *trie[V]) at(h uint64, key string) *V {
	if t.root == nil {
		return nil
	}
	node := t.root[h%fanOut]
	if node == nil {
		return nil
	}
	b := node[h/fanOut%fanOut]
	for i := range b {
		if b[i].hash == h && b[i].key == key {
			return &b[i].value
		}
	}
	return nil
}

// with returns a copy that holds the value at the key.
func (t trie[V]) with(key string, value V) trie[V] { return t.put(hashOf(key), key, value) }

func (t trie[V]) put(h uint64, key string, value V) trie[V] {
	next, place := t.copyPath(h)
	old := *place
	for i := range old {
		if old[i].hash == h && old[i].key == key {
			changed := slices.Clone(old)
			changed[i].value = value
			*place = changed
			return next
		}
	}
	grown := make(bucket[V], len(old)+1)
	copy(grown, old)
	grown[len(old)] = slot[V]{h, key, value}
	*place = grown
	next.size++
	return next
}

// without returns a copy that has nothing at the key.
func (t trie[V]) without(key string) trie[V] { return t.drop(hashOf(key), key) }

func (t trie[V]) drop(h uint64, key string) trie[V] {
	if _, ok := t.find(h, key); !ok {
		return t
	}
	next, place := t.copyPath(h)
	kept := make(bucket[V], 0, len(*place)-1)
	for _, s := range *place {
		if s.hash != h || s.key != key {
			kept = append(kept, s)
		}
	}
	*place = kept
	next.size--
	return next
}

// copyPath copies the two nodes above the bucket of a hash and returns where the bucket hangs.
func (t trie[V]) copyPath(h uint64) (trie[V], *bucket[V]) {
	root := new([fanOut]*[fanOut]bucket[V])
	if t.root != nil {
		*root = *t.root
	}
	node := new([fanOut]bucket[V])
	if old := root[h%fanOut]; old != nil {
		*node = *old
	}
	root[h%fanOut] = node
	t.root = root
	return t, &node[h/fanOut%fanOut]
}

// all yields the values, in no order.
func (t *trie[V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		if t.root == nil {
			return
		}
		for _, node := range t.root {
			if node == nil {
				continue
			}
			for _, b := range node {
				for i := range b {
					if !yield(b[i].value) {
						return
					}
				}
			}
		}
	}
}
