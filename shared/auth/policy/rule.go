package policy

import (
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

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
	path     string // of the edge in the document
	deny     bool
	envs     environments // of those that both services are in
	methods  []string     // none: all
	prefixes []string     // none: all
	scopes   auth.Scopes  // allow: what it carries, cut to the grant; deny: what it withholds, 0 the whole way
	limit    *Limit       // of an allow edge with a rate
}

// conditional reports whether the rule depends on the method or path.
func (r *rule) conditional() bool { return len(r.methods) > 0 || len(r.prefixes) > 0 }

// coverage says whether a rule covers a request.
type coverage uint8

const (
	uncovered coverage = iota
	uncertain          // a part of the request that matters is unknown or ambiguous
	covered
)

// request is what rules look at, read once.
type request struct {
	env    auth.Environment
	any    bool // no request yet: is there one that would be let through?
	method string
	path   string // canonical
	// methodSure and pathSure are false when that part is unspecified or can be read in two ways.
	methodSure, pathSure bool
}

// read prepares the question for the rules that depend on its method and path.
func read(q *Question) request {
	r := request{env: q.Environment, any: q.AnyRequest, method: q.Method, methodSure: validMethod(q.Method)}
	r.path, r.pathSure = canonicalPath(q.Path)
	return r
}

// covers says whether the rule covers the request.
func (r *rule) covers(q *request) coverage {
	if !r.envs.has(q.env) {
		return uncovered
	}
	result := covered
	if len(r.methods) > 0 {
		result = min(result, cover(q, q.methodSure, slices.Contains(r.methods, q.method)))
	}
	if len(r.prefixes) > 0 {
		under := slices.ContainsFunc(r.prefixes, func(p string) bool { return underPrefix(q.path, p) })
		result = min(result, cover(q, q.pathSure, under))
	}
	return result
}

func cover(q *request, sure, match bool) coverage {
	switch {
	case q.any || !sure:
		return uncertain
	case match:
		return covered
	default:
		return uncovered
	}
}

// applies reports whether the rule has its effect on the request. In doubt, deny rules have theirs and
// allow rules do not; before there is a request it is the other way round, since one may still come that
// is let through.
func (r *rule) applies(q *request) bool {
	switch r.covers(q) {
	case covered:
		return true
	case uncertain:
		return r.deny != q.any
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
