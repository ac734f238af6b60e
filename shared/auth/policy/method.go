package policy

import (
	"slices"
	"strings"
)

// methods are the HTTP methods that a rule covers; none stand for all. The common ones are numbered, so
// that a decision does not compare their names.
type methods struct {
	list   []string
	common uint16 // the numbers of those of list that have one
}

func newMethods(list []string) methods {
	m := methods{list: slices.Clone(list)}
	for _, name := range list {
		m.common |= methodNumber(name)
	}
	return m
}

// all reports whether every method is covered.
func (m *methods) all() bool { return len(m.list) == 0 }

// has reports whether the method of a request is one of those listed, all of which everybody reads alike.
func (m *methods) has(q *request) bool {
	if q.number != 0 {
		return m.common&q.number != 0
	}
	return slices.Contains(m.list, q.Method)
}

// methodNumber returns the bit of a common method, and 0 for others.
func methodNumber(method string) uint16 {
	switch method {
	case "GET":
		return 1 << 0
	case "HEAD":
		return 1 << 1
	case "POST":
		return 1 << 2
	case "PUT":
		return 1 << 3
	case "PATCH":
		return 1 << 4
	case "DELETE":
		return 1 << 5
	case "OPTIONS":
		return 1 << 6
	}
	return 0
}

// validMethod reports whether a method is one that everybody reads alike: an upper-case HTTP token.
func validMethod(method string) bool {
	for i := range len(method) {
		c := method[i]
		if (c < 'A' || c > 'Z') && !isDigit(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return method != "" && len(method) <= 32
}
