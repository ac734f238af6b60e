package zone

import (
	"maps"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// heritage begins every mark.
const heritage = "heritage=isectech"

func markKey(alias string) Key { return Key{"_isectech." + Name(alias), TXT} }

// Mark returns the set that claims an alias for the registry of an environment, with its own sets of some types.
func Mark(alias string, env auth.Environment, ttl int64, types map[string]bool) Set {
	text := heritage + " environment=" + string(env) + " types=" + strings.Join(slices.Sorted(maps.Keys(types)), ",")
	return Set{Key: markKey(alias), TTL: ttl, Data: []string{`"` + text + `"`}}
}

// Marked returns the alias that a set is the mark of, if it is the mark of a registry of an environment.
func Marked(s Set, env auth.Environment) (alias string, ok bool) {
	alias, ok = Alias(s.Name)
	return alias, ok && s.Type == TXT && strings.ToLower(s.Name) == markKey(alias).Name && markOf(s).ours(env)
}

// mark is what a mark says. The zero mark stands for none.
type mark struct {
	present bool
	env     auth.Environment // "" of a text that is no mark
	types   []string
}

// markOf reads a mark as it was written, or rewritten by a server that quotes in its own way.
func markOf(s Set) mark {
	if s.Name == "" {
		return mark{}
	}
	m := mark{present: true}
	if len(s.Data) != 1 || s.Routed {
		return m
	}
	words := strings.Fields(strings.ReplaceAll(s.Data[0], `"`, " "))
	if len(words) == 0 || words[0] != heritage {
		return m
	}
	for _, word := range words[1:] {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "environment":
			m.env = auth.Environment(value)
		case "types":
			m.types = strings.Split(value, ",")
		}
	}
	return m
}

func (m mark) ours(env auth.Environment) bool   { return m.present && m.env == env && env != "" }
func (m mark) others(env auth.Environment) bool { return m.present && !m.ours(env) }

// owns reports whether a set is the registry's.
func (m mark) owns(alias string, env auth.Environment, k Key) bool {
	if !m.ours(env) {
		return false
	}
	if k.Name == Name(alias) {
		return (k.Type == A || k.Type == AAAA) && slices.Contains(m.types, k.Type)
	}
	return below(alias, k)
}

// below reports whether a set is one of those that the registry has below an alias.
func below(alias string, k Key) bool {
	name, ok := strings.CutSuffix(k.Name, "."+Name(alias))
	if !ok {
		return false
	}
	switch k.Type {
	case SRV:
		return strings.HasPrefix(name, "_") && strings.HasSuffix(name, "._tcp")
	case A, AAAA:
		return strings.HasPrefix(name, "ip-") && !strings.Contains(name, ".")
	default:
		return false
	}
}
