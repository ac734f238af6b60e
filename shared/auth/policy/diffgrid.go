package policy

import (
	"math/bits"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
)

// way is the bit of a cell beside its scopes: the request is let through when it needs none.
const way = 1 << 7

// cell is the difference between the answers to one question.
type cell struct {
	added, removed uint8 // sets of scopes, and way
	from, to       Limit // of requests let through before and after, where they differ; zero: none
}

// region is a cell with where it is the difference: everywhere in the product of its lists of indexes.
type region struct {
	cell
	paths, methods, envs string
}

// pair asks both policies everything about a caller and a target, and tells where their answers differ.
func (d *differ) pair(key pair) {
	g := grid{differ: d, key: key}
	g.methods, g.methodNames = d.methodsOf(key)
	g.paths, g.pathNames = d.pathsOf(key)
	g.envs = auth.Environments()
	if key.caller.IsOperator() {
		g.envs = []auth.Environment{""}
	}
	for _, r := range g.regions() {
		g.tell(r)
	}
}

// grid is all questions about a caller and a target: one of each kind that their edges can tell apart.
type grid struct {
	*differ
	key                    pair
	envs                   []auth.Environment
	methods, paths         []string // to ask with
	methodNames, pathNames []string // to tell
}

// methodsOf returns the methods that the edges of either policy tell apart: those that they name, any
// other, and an unknown one.
func (d *differ) methodsOf(key pair) (ask, tell []string) {
	var named []string
	d.rules(key, func(n *narrowing) { named = append(named, n.methods.list...) })
	if len(named) == 0 {
		return []string{""}, nil
	}
	named = sorted(named)
	other := "X"
	for slices.Contains(named, other) {
		other += "X"
	}
	return append(slices.Clone(named), other, ""), append(named, Others, Unreadable)
}

// pathsOf returns the paths that the edges of either policy tell apart: each prefix that they name, which
// stands for what is below it and below no other, the root for all else, and an unknown path.
func (d *differ) pathsOf(key pair) (ask, tell []string) {
	var named []string
	d.rules(key, func(n *narrowing) { named = append(named, n.prefixes...) })
	if len(named) == 0 {
		return []string{""}, nil
	}
	named = slices.DeleteFunc(sorted(named), func(prefix string) bool { return prefix == "/" })
	return append(slices.Clone(named), "/", ""), append(named, Others, Unreadable)
}

func (d *differ) rules(key pair, each func(*narrowing)) {
	for _, p := range []*Policy{d.from, d.to} {
		for _, r := range p.between(key) {
			if r.narrow != nil {
				each(r.narrow)
			}
		}
	}
}

// ask compares the answers to one question.
func (g *grid) ask(env auth.Environment, method, path string) cell {
	q := Question{
		Caller: g.key.caller, Target: g.key.target, Environment: env, Method: method, Path: path, Held: auth.AllScopes,
	}
	from, to := g.from.decide(&q), g.to.decide(&q)
	before, after := uint8(from.Scopes), uint8(to.Scopes)
	if from.Allow {
		before |= way
	}
	if to.Allow {
		after |= way
	}
	c := cell{added: after &^ before, removed: before &^ after}
	if from.Allow && to.Allow && !equal(from.Limit, to.Limit) {
		if from.Limit != nil {
			c.from = *from.Limit
		}
		if to.Limit != nil {
			c.to = *to.Limit
		}
	}
	return c
}

// regions gathers the cells that differ in the same way: by path, then by method, then by environment.
func (g *grid) regions() []region {
	var byEnv groups
	for e, env := range g.envs {
		var byMethod groups
		for m, method := range g.methods {
			var byPath groups
			for p, path := range g.paths {
				if c := g.ask(env, method, path); c != (cell{}) {
					byPath.add(region{cell: c}, p, func(r *region) *string { return &r.paths })
				}
			}
			for _, r := range byPath.list {
				byMethod.add(r, m, func(r *region) *string { return &r.methods })
			}
		}
		for _, r := range byMethod.list {
			byEnv.add(r, e, func(r *region) *string { return &r.envs })
		}
	}
	return byEnv.list
}

// groups are regions that are told apart by all but one of their lists.
type groups struct {
	list []region
	at   map[region]int
}

// add adds an index to a list of the region that is otherwise the same.
func (g *groups) add(r region, index int, field func(*region) *string) {
	i, ok := g.at[r]
	if !ok {
		if g.at == nil {
			g.at = make(map[region]int)
		}
		i = len(g.list)
		g.at[r] = i
		g.list = append(g.list, r)
	}
	*field(&g.list[i]) += string(rune(index)) //nolint:gosec // G115: an edge names a few hundred things at most
}

// tell adds the changes that a region is.
func (g *grid) tell(r region) {
	c := Change{
		Caller: g.key.caller.String(), Target: g.key.target.String(),
		Methods: some(r.methods, g.methodNames), Paths: some(r.paths, g.pathNames),
		Credentials: []auth.Method{auth.MethodJWT, auth.MethodAPIKey, auth.MethodMTLS},
	}
	if g.key.caller.IsOperator() {
		c.Credentials = c.Credentials[:1]
	} else {
		c.Environments = names(r.envs, g.envs)
	}
	cells := int64(len([]rune(r.paths)) * len([]rune(r.methods)) * len([]rune(r.envs)))
	if r.added != 0 {
		g.sum.Added += cells * int64(bits.OnesCount8(r.added))
		g.add(c.access(AccessAdded, r.added))
	}
	if r.removed != 0 {
		g.sum.Removed += cells * int64(bits.OnesCount8(r.removed))
		g.add(c.access(AccessRemoved, r.removed))
	}
	if r.from != r.to {
		g.sum.Rates++
		c.Kind, c.From, c.To = RateChanged, r.from.text(), r.to.text()
		c.Widens = r.to.orDefault().compare(r.from.orDefault()) > 0
		g.add(c)
	}
}

// access makes the change one of what may be done.
func (c Change) access(kind ChangeKind, set uint8) Change {
	c.Kind, c.Widens, c.Way = kind, kind == AccessAdded, set&way != 0
	if scopes := auth.Scopes(set &^ way); scopes != 0 {
		c.Scopes = scopes.Names()
	}
	return c
}

// text names a rate and what counts against it; of none it is empty.
func (l Limit) text() string {
	switch {
	case l.Requests == 0:
		return ""
	case l.Target.IsZero():
		return l.RateLimit.String() + " in all"
	default:
		return l.RateLimit.String()
	}
}

// names turns indexes into names.
func names[T any](indexes string, all []T) []T {
	var list []T
	for _, i := range indexes {
		list = append(list, all[i])
	}
	return list
}

// some is names, and none where it would be all.
func some(indexes string, all []string) []string {
	if len(all) == 0 || len([]rune(indexes)) == len(all) {
		return nil
	}
	return names(indexes, all)
}
