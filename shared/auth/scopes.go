package auth

import (
	"iter"
	"math/bits"
	"strings"
)

// Scopes is a set of the platform's scopes. The zero value is the empty set; sets compare with ==.
type Scopes uint8

// The scopes there are.
const (
	APIRead Scopes = 1 << iota
	APIWrite
	AdminRead
	AdminWrite
	ServiceDiscover
	MetricsRead
)

// AllScopes is the set of all scopes.
const AllScopes = APIRead | APIWrite | AdminRead | AdminWrite | ServiceDiscover | MetricsRead

var scopeNames = [...]string{"api:read", "api:write", "admin:read", "admin:write", "service:discover", "metrics:read"}

// ParseScope parses one scope; ok is false for a name that is none.
func ParseScope(s string) (Scopes, bool) {
	for i, name := range scopeNames {
		if s == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// ParseScopes parses names separated by spaces alone (RFC 6749 §3.3). Names that are no scopes of ours are
// returned beside the set, since asking for one is an error to some callers and noise to others.
func ParseScopes(s string) (set Scopes, unknown []string) {
	for name := range strings.SplitSeq(s, " ") {
		if one, ok := ParseScope(name); ok {
			set |= one
		} else if name != "" {
			unknown = append(unknown, clip(name))
		}
	}
	return set, unknown
}

// Has reports whether s contains all of want.
func (s Scopes) Has(want Scopes) bool { return s&want == want }

// Len returns the number of scopes in s.
func (s Scopes) Len() int { return bits.OnesCount8(uint8(s)) }

// All yields the names of the scopes in a fixed order.
func (s Scopes) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, name := range scopeNames {
			if s&(1<<i) != 0 && !yield(name) {
				return
			}
		}
	}
}

// Names lists the scopes in a fixed order; never nil, so that it encodes as [].
func (s Scopes) Names() []string {
	names := make([]string, 0, s.Len())
	for name := range s.All() {
		names = append(names, name)
	}
	return names
}

// String joins the names with spaces, the form of the scope parameter and claim.
func (s Scopes) String() string { return joined[s&AllScopes] }

// joined is what String returns, of every set: it is asked at each decision.
var joined = func() (all [AllScopes + 1]string) {
	for s := range Scopes(len(all)) {
		all[s] = strings.Join(s.Names(), " ")
	}
	return all
}()
