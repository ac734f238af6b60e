package policy

import (
	"slices"

	"github.com/isectech/service-networking/shared/auth"
)

// edgeRef is an edge to one target, where it stands and what it says, for comparing.
type edgeRef struct {
	path     string
	edge     *Edge
	envs     environments // those it can have an effect in
	scopes   auth.Scopes  // those it names
	target   string
	rulePath string
}

// pairs holds the edges by caller and target, in the order in which the pairs first appear.
type pairs struct {
	order [][2]string
	refs  map[[2]string][]edgeRef
}

func (p *pairs) add(ref edgeRef) {
	key := [2]string{ref.edge.Caller, ref.target}
	if _, ok := p.refs[key]; !ok {
		p.order = append(p.order, key)
	}
	p.refs[key] = append(p.refs[key], ref)
}

// edges checks the edges one by one, and then those between the same two services against each other.
func (c *checker) edges() {
	p := pairs{refs: make(map[[2]string][]edgeRef)}
	for i := range c.doc.Edges {
		e, path := &c.doc.Edges[i], indexPath("edges", i)
		if c.edge(path, e) {
			for j, target := range e.targets() {
				ref := edgeRef{
					path: path, edge: e, target: target, rulePath: e.rulePath(path, j),
					envs: c.sharedEnvironments(e, target), scopes: scopeSet(e.Scopes),
				}
				c.edgeEnvironments(&ref)
				p.add(ref)
			}
		}
	}
	c.parallel(p)
	c.idle(p)
	c.isolated(p)
}

// edge checks one edge and reports whether it can be compared with others.
func (c *checker) edge(path string, e *Edge) bool {
	before := c.faults
	c.service(path+".caller", e.Caller)
	if (e.Target == "") == (len(e.Targets) == 0) {
		c.errorf(path+".target", "one_target_field", "Say either target or targets.")
	} else if e.Target != "" {
		c.service(path+".target", e.Target)
	}
	c.eachOnce(path+".targets", e.Targets, func(path, target string) { c.service(path, target) })
	if e.Effect != "" && e.Effect != Allow && e.Effect != Deny {
		c.errorf(path+".effect", "unknown_effect", "The effect is allow or deny.")
	}
	c.environments(path+".environments", e.Environments)
	c.atMost(path+".methods", len(e.Methods), maxMethods)
	c.eachOnce(path+".methods", e.Methods, func(path, method string) {
		if !validMethod(method) {
			c.errorf(path, "method_form", "A method is an upper-case token such as GET.")
		}
	})
	c.atMost(path+".path_prefixes", len(e.PathPrefixes), maxPathPrefixes)
	c.eachOnce(path+".path_prefixes", e.PathPrefixes, func(path, prefix string) {
		if fault := validPrefix(prefix); fault != "" {
			c.errorf(path, "path_prefix_form", "%s", fault)
		}
	})
	grant := scopeSet(c.doc.Services[e.Caller].Scopes)
	c.scopes(path+".scopes", e.Scopes, func(path string, scope auth.Scopes) {
		if !e.denies() && !grant.Has(scope) {
			c.warnf(path, "scope_not_granted", "%s is never granted %s, so this edge cannot carry it.", quote(e.Caller), scope)
		}
	})
	if e.RateLimit != nil && e.denies() {
		c.errorf(path+".rate_limit", "rate_of_deny", "A deny edge lets nothing through that could have a rate.")
	} else {
		c.rate(path+".rate_limit", e.RateLimit)
	}
	return c.faults == before
}

// narrowingInto is stringsInto of what an edge is narrowed to. Of an empty list somebody may think that it stands
// for nothing, and it stands for everything.
func (d *decoder) narrowingInto(list *[]string) func(path string) {
	return func(path string) {
		before := d.faults
		d.stringsInto(list)(path)
		if len(*list) == 0 && d.faults == before && d.failed == nil {
			d.warnf(path, "empty_list", "An empty list does not narrow the edge: leave it out, or name what the edge covers.")
		}
	}
}

// sharedEnvironments returns those that both ends of an edge are in and that the edge is not narrowed away from.
func (c *checker) sharedEnvironments(e *Edge, target string) environments {
	shared := environmentSet(c.doc.Services[e.Caller].Environments) & environmentSet(c.doc.Services[target].Environments)
	if len(e.Environments) > 0 {
		shared &= environmentSet(e.Environments)
	}
	return shared
}

func (c *checker) edgeEnvironments(ref *edgeRef) {
	for i, env := range ref.edge.Environments {
		for _, end := range []string{ref.edge.Caller, ref.target} {
			if !slices.Contains(c.doc.Services[end].Environments, env) {
				c.warnf(indexPath(ref.path+".environments", i), "foreign_environment",
					"%s is not in %s, so the edge has no effect there.", end, env)
				break
			}
		}
	}
	if ref.envs == 0 && len(ref.edge.Environments) == 0 {
		c.warnf(ref.rulePath, "no_shared_environment",
			"%s and %s are in no environment together, so the edge has no effect.", ref.edge.Caller, ref.target)
	}
}

// parallel compares the edges between the same two services.
func (c *checker) parallel(p pairs) {
	for _, key := range p.order {
		refs := p.refs[key]
		if len(refs) > maxParallelEdges {
			c.errorf(refs[maxParallelEdges].rulePath, "too_many",
				"There are %d edges from %s to %s; at most %d are allowed.",
				len(refs), refs[0].edge.Caller, refs[0].target, maxParallelEdges)
			continue
		}
		for i := range refs {
			c.against(refs, i)
		}
	}
}

// against says what the other edges between the same services make of one.
func (c *checker) against(refs []edgeRef, i int) {
	this := &refs[i]
	if this.envs == 0 {
		return // it has no effect anyway, which has been said
	}
	for j := range refs {
		other := &refs[j]
		alike := this.edge.denies() == other.edge.denies()
		if i == j || !other.covers(this) || alike && !other.slowerThan(this) {
			continue
		}
		same := this.covers(other) && this.slowerThan(other)
		switch {
		case same && alike:
			if j < i {
				c.errorf(this.rulePath, "duplicate_edge", "This edge says the same as %s.", other.rulePath)
				return
			}
		case alike:
			c.warnf(this.rulePath, "redundant_edge", "%s says all of this and more.", other.rulePath)
			return
		case other.edge.denies() && other.scopes == 0:
			c.warnf(this.rulePath, "shadowed_edge", "%s denies all that this edge allows.", other.rulePath)
			return
		}
	}
}

// covers reports whether everything that other says something about, r says something about too.
func (r *edgeRef) covers(other *edgeRef) bool {
	return r.envs&other.envs == other.envs &&
		(r.scopes == 0 || (other.scopes != 0 && r.scopes.Has(other.scopes))) &&
		coversList(r.edge.Methods, other.edge.Methods, func(a, b string) bool { return a == b }) &&
		coversList(r.edge.PathPrefixes, other.edge.PathPrefixes, func(prefix, path string) bool {
			return underPrefix(path, prefix)
		})
}

// slowerThan reports whether the rate of r, where both cover a request, leaves other's without effect.
func (r *edgeRef) slowerThan(other *edgeRef) bool {
	return other.edge.RateLimit == nil ||
		r.edge.RateLimit != nil && r.edge.RateLimit.compare(*other.edge.RateLimit) <= 0
}

// coversList reports whether every element of other is covered by one of list. Empty lists stand for
// everything.
func coversList(list, other []string, covers func(a, b string) bool) bool {
	if len(list) == 0 {
		return true
	}
	return len(other) > 0 && !slices.ContainsFunc(other, func(b string) bool {
		return !slices.ContainsFunc(list, func(a string) bool { return covers(a, b) })
	})
}
