package registry

import (
	"cmp"
	"hash/maphash"
	"iter"
	"strings"
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
)

func (p posting) compare(o posting) int {
	return cmp.Or(cmp.Compare(p.kind, o.kind), strings.Compare(p.term, o.term), strings.Compare(p.id, o.id))
}

// postings is an immutable ordered set: a treap whose priorities are hashes of the postings, so that its
// shape depends on its content alone. with and without copy one path, some 2·log₂(n) nodes.
type postings struct {
	root *treapNode
	size int
}

type treapNode struct {
	posting
	priority    uint64
	left, right *treapNode
}

// with returns a copy that holds p.
func (t postings) with(p posting) postings {
	if t.has(p) {
		return t
	}
	n := &treapNode{posting: p, priority: maphash.Comparable(seed, p)}
	return postings{insert(t.root, n), t.size + 1}
}

// without returns a copy that does not hold p.
func (t postings) without(p posting) postings {
	if !t.has(p) {
		return t
	}
	return postings{remove(t.root, p), t.size - 1}
}

func (t postings) has(p posting) bool {
	for n := t.root; n != nil; {
		switch c := p.compare(n.posting); {
		case c == 0:
			return true
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return false
}

// ids yields the ids found under a term that come after a given one, in their order.
func (t postings) ids(kind postingKind, term, after string) iter.Seq[string] {
	from := posting{kind, term, after}
	return func(yield func(string) bool) { walk(t.root, from, yield) }
}

// walk yields the ids of postings that share kind and term with from and come after it.
func walk(n *treapNode, from posting, yield func(string) bool) bool {
	if n == nil {
		return true
	}
	if n.compare(from) <= 0 {
		return walk(n.right, from, yield)
	}
	if !walk(n.left, from, yield) {
		return false
	}
	if n.kind != from.kind || n.term != from.term {
		return true // all to the right is further away still
	}
	return yield(n.id) && walk(n.right, from, yield)
}

func insert(n, leaf *treapNode) *treapNode {
	if n == nil {
		return leaf
	}
	if leaf.priority > n.priority {
		placed := *leaf
		placed.left, placed.right = split(n, leaf.posting)
		return &placed
	}
	c := *n
	if leaf.compare(n.posting) < 0 {
		c.left = insert(n.left, leaf)
	} else {
		c.right = insert(n.right, leaf)
	}
	return &c
}

// split parts a treap that does not hold p into what comes before p and what comes after it.
func split(n *treapNode, p posting) (before, after *treapNode) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if n.compare(p) < 0 {
		c.right, after = split(n.right, p)
		return &c, after
	}
	before, c.left = split(n.left, p)
	return before, &c
}

func remove(n *treapNode, p posting) *treapNode {
	order := p.compare(n.posting)
	if order == 0 {
		return join(n.left, n.right)
	}
	c := *n
	if order < 0 {
		c.left = remove(n.left, p)
	} else {
		c.right = remove(n.right, p)
	}
	return &c
}

// join merges two treaps of which all of the first comes before all of the second.
func join(a, b *treapNode) *treapNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		c := *a
		c.right = join(a.right, b)
		return &c
	default:
		c := *b
		c.left = join(a, b.left)
		return &c
	}
}
