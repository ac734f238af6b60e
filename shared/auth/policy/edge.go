package policy

import (
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// edge is the outcome of all rules between a caller and a target, worked out for each environment
// beforehand. It is small, so that many of them stay near the processor.
type edge struct {
	open   environments
	scopes [numEnvironments]auth.Scopes
	closer bool // there is more to look at: rules that depend on the method or path, or a rate
	rated  bool // the caller has a rate of its own
	n      uint8
	at     uint32 // its rules are Policy.rules[at : at+n]
}

// of returns the rules that an edge is the outcome of.
func (p *Policy) of(e *edge) []rule { return p.rules[e.at : e.at+uint32(e.n)] }

// between returns the rules that lead from a caller to a target.
func (p *Policy) between(key pair) []rule {
	if e := p.edges.get(key); e != nil {
		return p.of(e)
	}
	return nil
}

// lookCloser judges what cannot be told from the services and the environment alone.
func (p *Policy) lookCloser(e *edge, q *Question) facts {
	r := request{Question: q}
	r.read()
	way, scopes, limit := judge(p.of(e), &r)
	if limit == nil && e.rated {
		limit = p.caller(q.Caller).limit
	}
	return facts{is: callerKnown | targetKnown | open.when(way), ceiling: scopes, limit: limit}
}

// addEdges spreads the edges out into rules, lays those between the same services side by side and works
// out what can be.
func (p *Policy) addEdges(edges []Edge) {
	byPair := make(map[pair][]rule)
	shared := make(map[string]*narrowing)
	for i := range edges {
		e := &edges[i]
		narrow := narrowTo(shared, e)
		from := p.names[e.Caller]
		c := p.caller(from)
		for j, name := range e.targets() {
			target := p.names[name]
			r := rule{
				path:   e.rulePath(indexPath("edges", i), j),
				deny:   e.denies(),
				envs:   c.envs & p.caller(target).envs,
				narrow: narrow,
				scopes: scopeSet(e.Scopes),
				limit:  e.RateLimit.limit(target),
			}
			if len(e.Environments) > 0 {
				r.envs &= environmentSet(e.Environments)
			}
			switch {
			case r.deny:
			case r.scopes == 0:
				r.scopes = c.grant
			default:
				r.scopes &= c.grant
			}
			key := pair{from, target}
			byPair[key] = append(byPair[key], r)
		}
	}
	p.edges = newTable[edge](len(byPair))
	for key, rules := range byPair {
		*p.edges.put(key) = p.outcome(rules, p.caller(key.caller).limit != nil)
	}
}

// narrowTo returns what an edge is narrowed to, nil where it is not.
func narrowTo(shared map[string]*narrowing, e *Edge) *narrowing {
	if len(e.Methods)+len(e.PathPrefixes) == 0 {
		return nil
	}
	key := strings.Join(e.Methods, " ") + "\n" + strings.Join(e.PathPrefixes, " ") // neither holds a space
	n, ok := shared[key]
	if !ok {
		n = &narrowing{methods: newMethods(e.Methods), prefixes: slices.Clone(e.PathPrefixes)}
		shared[key] = n
	}
	return n
}

// outcome works out what the rules of an edge come to in each environment, as far as that can be told
// beforehand. There are at most maxParallelEdges of them, and MaxEdges in all.
func (p *Policy) outcome(rules []rule, rated bool) edge {
	e := edge{at: uint32(len(p.rules)), n: uint8(len(rules)), rated: rated} //nolint:gosec // G115: bounded
	p.rules = append(p.rules, rules...)
	e.closer = rated || slices.ContainsFunc(rules, func(r rule) bool { return r.narrow != nil || r.limit != nil })
	if e.closer {
		return e
	}
	for i := range numEnvironments {
		if way, scopes, _ := judge(rules, &request{Question: new(Question), env: 1 << i}); way {
			e.open |= 1 << i
			e.scopes[i] = scopes
		}
	}
	return e
}
