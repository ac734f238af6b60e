package policy

import "github.com/isectech/service-networking/shared/auth"

// environments is a set of environments.
type environments uint8

const numEnvironments = 3

// environmentIndex numbers the environments; ok is false for what is none.
func environmentIndex(env auth.Environment) (i int, ok bool) {
	switch env {
	case auth.Production:
		return 0, true
	case auth.Staging:
		return 1, true
	case auth.Development:
		return 2, true
	}
	return 0, false
}

func (s environments) has(env auth.Environment) bool {
	i, ok := environmentIndex(env)
	return ok && s&(1<<i) != 0
}

func (s environments) list() []auth.Environment {
	var list []auth.Environment
	for _, env := range auth.Environments() {
		if s.has(env) {
			list = append(list, env)
		}
	}
	return list
}

// rule is one edge between one caller and one target, as far as it can have any effect.
type rule struct {
	deny   bool
	envs   environments // of those that both services are in
	scopes auth.Scopes  // allow: what it carries, cut to the grant; deny: what it withholds, 0 the whole way
	narrow *narrowing   // nil: it covers every method and path
	limit  *Limit       // of an allow edge with a rate
	path   string       // of the edge in the document
}

// narrowing is what a rule is narrowed to. Rules that are narrowed alike share one.
type narrowing struct {
	methods  methods
	prefixes []string // none: all
}

// coverage says whether a rule covers a request.
type coverage uint8

const (
	uncovered coverage = iota
	uncertain          // a part of the request that matters is unknown or ambiguous
	covered
)

// request is what rules look at, read once.
type request struct {
	*Question

	env        environments // that of the caller; none where it is none
	number     uint16       // of the method, where it is a common one
	methodSure bool         // the method is known and everybody reads it alike
	pathRead   bool
	pathSure   bool   // the path is known and everybody reads it alike
	path       string // canonical
}

// read prepares the request's question for rules. The path is read when one of them asks.
func (r *request) read() {
	if i, ok := environmentIndex(r.Environment); ok {
		r.env = 1 << i
	}
	r.number = methodNumber(r.Method)
	r.methodSure = r.number != 0 || validMethod(r.Method)
}

// under reports whether the path lies, without a doubt, at or below one of the prefixes.
func (r *request) under(prefixes []string) bool {
	if !r.pathRead {
		r.path, r.pathSure = canonicalPath(r.Path)
		r.pathRead = true
	}
	if r.pathSure {
		for _, prefix := range prefixes {
			if underPrefix(r.path, prefix) {
				return true
			}
		}
	}
	return false
}

// covers says whether the rule covers the request.
func (r *rule) covers(q *request) coverage {
	switch {
	case r.envs&q.env == 0:
		return uncovered
	case r.narrow == nil:
		return covered
	case q.AnyRequest:
		return uncertain
	}
	return r.narrow.covers(q)
}

func (n *narrowing) covers(q *request) coverage {
	result := covered
	if !n.methods.all() && !n.methods.has(q) {
		if q.methodSure {
			return uncovered
		}
		result = uncertain
	}
	if len(n.prefixes) > 0 && !q.under(n.prefixes) {
		if q.pathSure {
			return uncovered
		}
		result = uncertain
	}
	return result
}

// applies reports whether the rule has its effect on the request. In doubt, deny rules have theirs and
// allow rules do not; before there is a request it is the other way round, since one may still come that
// is let through.
func (r *rule) applies(q *request) bool {
	switch r.covers(q) {
	case covered:
		return true
	case uncertain:
		return r.deny != q.AnyRequest
	default:
		return false
	}
}

// judge combines the rules between a caller and a target, in whatever order they stand: the way is open
// when an allow rule applies and no deny rule closes it, the scopes are those that the allow rules carry,
// without those that deny rules withhold, and the limit is the smallest of those that the allow rules have.
func judge(rules []rule, q *request) (open bool, scopes auth.Scopes, limit *Limit) {
	var withheld auth.Scopes
	for i := range rules {
		r := &rules[i]
		switch {
		case !r.applies(q):
		case !r.deny:
			open = true
			scopes |= r.scopes
			limit = smaller(limit, r.limit)
		case r.scopes == 0:
			return false, 0, nil
		default:
			withheld |= r.scopes
		}
	}
	return open, scopes &^ withheld, limit
}
