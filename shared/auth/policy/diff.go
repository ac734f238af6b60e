package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// ChangeKind is what a change is about.
type ChangeKind string

// The kinds there are.
const (
	AccessAdded   ChangeKind = "access_added"   // requests are let through that were not
	AccessRemoved ChangeKind = "access_removed" // requests are refused that were not
	RateChanged   ChangeKind = "rate_changed"   // requests that were and are let through count against another rate
	AccountMapped ChangeKind = "account_mapped" // a service account stands for something else
	AliasMapped   ChangeKind = "alias_mapped"   // an alias stands for something else
)

// What a list of methods or paths calls those that it does not name.
const (
	Others     = "*" // all that no edge between the two names
	Unreadable = "?" // unknown, or such that two programs may read it differently
)

// Change is one thing that two policies answer differently.
type Change struct {
	Kind   ChangeKind `json:"kind"`
	Widens bool       `json:"widens"` // somebody may do more than before
	Caller string     `json:"caller,omitempty"`
	Target string     `json:"target,omitempty"`

	Environments []auth.Environment `json:"environments,omitempty"` // none: an operator, who acts in all
	Methods      []string           `json:"methods,omitempty"`      // none: all
	Paths        []string           `json:"paths,omitempty"`        // and below, but for what another one says; none: all
	Credentials  []auth.Method      `json:"credentials,omitempty"`  // those that the change holds for
	Way          bool               `json:"way,omitempty"`          // the way itself opens or closes, for requests that need no scope
	Scopes       []string           `json:"scopes,omitempty"`       // that can be used, or no longer

	Name string `json:"name,omitempty"` // the account or alias
	From string `json:"from,omitempty"` // the rate, or what the name stood for; empty for none
	To   string `json:"to,omitempty"`
}

// Comparison is everything that two policies answer differently.
type Comparison struct {
	Widens  bool     `json:"widens"`
	Added   int64    `json:"added"`   // combinations of caller, target, environment, method, path and scope, or none, let through now
	Removed int64    `json:"removed"` // those let through no longer
	Rates   int      `json:"rates"`   // changes of each further kind
	Names   int      `json:"names"`
	Changes []Change `json:"changes"` // what widens comes first
	Omitted int      `json:"omitted"` // how many changes more there are
}

// Same reports whether there is no difference.
func (c *Comparison) Same() bool { return len(c.Changes)+c.Omitted == 0 }

// Diff compares the answers of two policies to every question: every caller, target and environment, every
// method and path that an edge of either policy names and those that none names, and every scope. Decide
// gives the answers; what credential a caller shows does not change them. At most limit changes are listed, or
// all of them where it is 0; the numbers are always exact.
//
// Only pairs of services whose edges differ are asked about, so that the work grows with the change.
func Diff(from, to *Policy, limit int) Comparison {
	d := differ{from: from, to: to, limit: limit}
	callers := maps.Collect(from.callers.keys())
	maps.Insert(callers, to.callers.keys())
	keys := maps.Collect(from.edges.keys())
	maps.Insert(keys, to.edges.keys())
	for key := range callers {
		keys[pair{key.caller, platform}] = struct{}{}
	}
	for _, key := range slices.SortedFunc(maps.Keys(keys), pair.compare) {
		if key.target == platform || !alike(from, to, key) {
			d.pair(key)
		}
	}
	d.accounts()
	d.aliases()
	return d.comparison()
}

// compare orders pairs by name.
func (k pair) compare(o pair) int {
	if c := strings.Compare(k.caller.String(), o.caller.String()); c != 0 {
		return c
	}
	return strings.Compare(k.target.String(), o.target.String())
}

// alike reports whether two policies have the same rules for a pair, whatever they stand for.
func alike(a, b *Policy, key pair) bool {
	return equal(a.caller(key.caller).limit, b.caller(key.caller).limit) &&
		slices.EqualFunc(a.between(key), b.between(key), func(r, s rule) bool {
			return r.deny == s.deny && r.envs == s.envs && r.scopes == s.scopes && equal(r.limit, s.limit) &&
				(r.narrow == nil) == (s.narrow == nil) && (r.narrow == nil ||
				slices.Equal(r.narrow.methods.list, s.narrow.methods.list) && slices.Equal(r.narrow.prefixes, s.narrow.prefixes))
		})
}

func equal(a, b *Limit) bool { return a == b || a != nil && b != nil && *a == *b }

// differ gathers the differences of two policies. What widens and what does not are kept apart, so that
// the limit never hides the one behind the other.
type differ struct {
	from, to *Policy
	limit    int
	sum      Comparison
	wider    []Change
	others   []Change
	count    int
}

func (d *differ) add(c Change) {
	d.count++
	d.sum.Widens = d.sum.Widens || c.Widens
	list := &d.others
	if c.Widens {
		list = &d.wider
	}
	if d.limit == 0 || len(*list) < d.limit {
		*list = append(*list, c)
	}
}

func (d *differ) comparison() Comparison {
	c := d.sum
	c.Changes = append(append([]Change{}, d.wider...), d.others...)
	if d.limit > 0 {
		c.Changes = c.Changes[:min(len(c.Changes), d.limit)]
	}
	c.Omitted = d.count - len(c.Changes)
	return c
}

// accounts compares what service accounts stand for. Operators are compared by what they may do.
func (d *differ) accounts() {
	text := func(a account) string {
		if a.subject.IsZero() || a.subject.IsOperator() {
			return ""
		}
		return a.subject.String() + " in " + string(a.env)
	}
	mails := maps.Clone(d.from.mails)
	maps.Copy(mails, d.to.mails)
	for _, mail := range slices.Sorted(maps.Keys(mails)) {
		if from, to := text(d.from.mails[mail]), text(d.to.mails[mail]); from != to {
			d.sum.Names++
			d.add(Change{Kind: AccountMapped, Widens: to != "", Name: mail, From: from, To: to})
		}
	}
}

// aliases compares what aliases stand for, but for those that come and go with their service.
func (d *differ) aliases() {
	names := maps.Clone(d.from.names)
	maps.Copy(names, d.to.names)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		from, to := d.from.names[name], d.to.names[name]
		_, stays := d.to.services[from]
		_, stood := d.from.services[to]
		if from != to && (stays || stood) {
			d.sum.Names++
			d.add(Change{Kind: AliasMapped, Name: name, From: from.String(), To: to.String()})
		}
	}
}
