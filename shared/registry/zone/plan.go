package zone

import (
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// Change is a change of a zone. A set that is replaced stands in both lists, so that the change, which is made whole
// or not at all, leaves no moment without it.
type Change struct{ Deletions, Additions []Set }

// Empty reports whether there is nothing to change.
func (c Change) Empty() bool { return len(c.Deletions)+len(c.Additions) == 0 }

// Plan returns the change that makes the sets of an alias those that are wanted, and the keys of those wanted that
// others hold. current are all sets of the zone at the alias and below it.
//
// What is the registry's is told by a mark, a text record at _isectech.<alias>: where it stands, with the
// environment's name, the registry owns the service records, the names of addresses below the alias, and of the
// alias's own sets those of the types that the mark lists. All else is somebody's who manages the zone too, and is
// neither changed nor removed. Nor is an alias claimed below which somebody else has such records already.
func Plan(alias string, env auth.Environment, current, wanted []Set) (change Change, foreign []Key) {
	have := make(map[Key]Set, len(current))
	for _, s := range current {
		s.Key = Key{strings.ToLower(s.Name), s.Type}
		have[s.Key] = s
	}
	m := markOf(have[markKey(alias)])
	closed := m.others(env) || !m.present && slices.ContainsFunc(current, func(s Set) bool { return below(alias, Key{strings.ToLower(s.Name), s.Type}) })
	owns := func(k Key) bool { return m.owns(alias, env, k) && !have[k].Routed }
	keep := make(map[Key]bool)
	types := make(map[string]bool) // of the alias's own sets
	for _, s := range wanted {
		is, taken := have[s.Key]
		_, renamed := have[Key{s.Name, "CNAME"}] // which suffers nothing beside it
		if taken && !owns(s.Key) || renamed || closed {
			foreign = append(foreign, s.Key)
			continue
		}
		keep[s.Key] = true
		if s.Name == Name(alias) {
			types[s.Type] = true
		}
		if taken && is.Equal(s) {
			continue
		}
		if taken {
			change.Deletions = append(change.Deletions, is)
		}
		change.Additions = append(change.Additions, s)
	}
	for _, s := range current {
		k := Key{strings.ToLower(s.Name), s.Type}
		if k != markKey(alias) && !keep[k] && owns(k) {
			change.Deletions = append(change.Deletions, s)
		}
	}
	change.mark(alias, env, have, types, len(keep) > 0, wanted)
	slices.SortFunc(change.Deletions, byKey)
	slices.SortFunc(change.Additions, byKey)
	return change, foreign
}

// mark adds what becomes of the mark: it stands for as long as anything is the registry's.
func (c *Change) mark(alias string, env auth.Environment, have map[Key]Set, types map[string]bool, kept bool, wanted []Set) {
	was, marked := have[markKey(alias)]
	if marked && !markOf(was).ours(env) {
		return
	}
	if !kept {
		if marked {
			c.Deletions = append(c.Deletions, was)
		}
		return
	}
	next := Mark(alias, env, wanted[0].TTL, types)
	if marked && was.Equal(next) {
		return
	}
	if marked {
		c.Deletions = append(c.Deletions, was)
	}
	c.Additions = append(c.Additions, next)
}
