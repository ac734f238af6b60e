package registry

import (
	"hash/maphash"
	"iter"
)

// posting says that an instance is found under a term: its name, its region, one of its tags.
type posting struct {
	kind postingKind
	term string
	id   string
}

type postingKind uint8

const (
	byID          postingKind = iota // with no term: all instances
	byName                           // the service's name
	byEnvironment                    //
	byRegion                         //
	byStatus                         //
	byTag                            //

	postingKinds = iota
)

// postings is an immutable set, for each kind and term of the ids found under it.
type postings struct {
	terms [postingKinds]trie[*idNode]
	size  int
}

// idNode is a treap of ids in their order. Its priorities are hashes of the ids, so that its shape depends on its
// content alone: they are worked out where they are needed, which is less often than they would lie in memory.
// Changes copy one path, some 2·log₂(n) nodes.
type idNode struct {
	id          string
	left, right *idNode
}

// with returns a copy that holds p.
func (t postings) with(p posting) postings {
	root, _ := t.terms[p.kind].get(p.term)
	if root.has(p.id) {
		return t
	}
	t.terms[p.kind] = t.terms[p.kind].with(p.term, root.insert(&idNode{id: p.id}, priority(p.id)))
	t.size++
	return t
}

// without returns a copy that does not hold p.
func (t postings) without(p posting) postings {
	root, _ := t.terms[p.kind].get(p.term)
	if !root.has(p.id) {
		return t
	}
	t.size--
	if root = root.remove(p.id); root == nil {
		t.terms[p.kind] = t.terms[p.kind].without(p.term)
		return t
	}
	t.terms[p.kind] = t.terms[p.kind].with(p.term, root)
	return t
}

// ids yields the ids found under a term that come after a given one, in their order.
func (t *postings) ids(kind postingKind, term, after string) iter.Seq[string] {
	root, _ := t.terms[kind].get(term)
	return func(yield func(string) bool) { root.walk(after, yield) }
}

func priority(id string) uint64 { return maphash.String(seed, id) }

func (n *idNode) has(id string) bool {
	for n != nil && n.id != id {
		if id < n.id {
			n = n.left
		} else {
			n = n.right
		}
	}
	return n != nil
}

// walk yields the ids that come after one.
func (n *idNode) walk(after string, yield func(string) bool) bool {
	for ; n != nil; n = n.right {
		if n.id <= after {
			continue
		}
		if !n.left.walk(after, yield) || !yield(n.id) {
			return false
		}
	}
	return true
}

func (n *idNode) insert(leaf *idNode, rank uint64) *idNode {
	if n == nil {
		return leaf
	}
	if rank > priority(n.id) {
		leaf.left, leaf.right = n.split(leaf.id)
		return leaf
	}
	c := *n
	if leaf.id < n.id {
		c.left = n.left.insert(leaf, rank)
	} else {
		c.right = n.right.insert(leaf, rank)
	}
	return &c
}

// split parts a treap that does not hold id into what comes before it and what comes after it.
func (n *idNode) split(id string) (before, after *idNode) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if n.id < id {
		c.right, after = n.right.split(id)
		return &c, after
	}
	before, c.left = n.left.split(id)
	return before, &c
}

func (n *idNode) remove(id string) *idNode {
	if n.id == id {
		return join(n.left, n.right)
	}
	c := *n
	if id < n.id {
		c.left = n.left.remove(id)
	} else {
		c.right = n.right.remove(id)
	}
	return &c
}

// join merges two treaps of which all of the first comes before all of the second.
func join(a, b *idNode) *idNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case priority(a.id) > priority(b.id):
		c := *a
		c.right = join(a.right, b)
		return &c
	default:
		c := *b
		c.left = join(a, b.left)
		return &c
	}
}
