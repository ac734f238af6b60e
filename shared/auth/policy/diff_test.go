package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// line is a change as one reads it.
func line(c policy.Change) string {
	mark := map[bool]string{true: "!", false: " "}[c.Widens]
	way := map[bool]string{true: " way"}[c.Way]
	return fmt.Sprintf("%s%s %s>%s %v %v %v%s %v %s:%s>%s", mark, c.Kind, c.Caller, c.Target, c.Environments, c.Methods, c.Paths, way, c.Scopes, c.Name, c.From, c.To)
}

func TestDiff(t *testing.T) {
	t.Parallel()
	base := func() *policy.Document {
		service := policy.ServiceEntry{Environments: []string{"production", "development"}, Scopes: []string{"api:read", "api:write"}}
		return &policy.Document{
			Services: map[string]policy.ServiceEntry{"a": service, "b": service, "c": service},
			Edges: []policy.Edge{
				{Caller: "a", Target: "b", Methods: []string{"GET"}, PathPrefixes: []string{"/api"}, Scopes: []string{"api:read"}},
				{Caller: "a", Target: "c"},
			},
			Operators:       map[string]policy.Operator{ops: {Scopes: []string{"admin:read"}}},
			ServiceAccounts: map[string]policy.Account{robot: {Service: "a", Environment: "production"}},
		}
	}
	tests := []struct {
		name           string
		change         func(*policy.Document)
		want           []string
		added, removed int64
	}{
		{"nothing", func(*policy.Document) {}, nil, 0, 0},
		{"in other words", func(d *policy.Document) {
			slices.Reverse(d.Edges)
			d.Edges[1].PathPrefixes = append(d.Edges[1].PathPrefixes, "/api/v1")
		}, nil, 0, 0},
		{"an edge", func(d *policy.Document) { d.Edges = append(d.Edges, policy.Edge{Caller: "b", Target: "c"}) },
			[]string{"!access_added b>c [production development] [] [] way [api:read api:write] :>"}, 6, 0},
		{"wider by a method", func(d *policy.Document) { d.Edges[0].Methods = []string{"GET", "PUT"} },
			[]string{"!access_added a>b [production development] [PUT] [/api] way [api:read] :>"}, 4, 0},
		{"wider by all paths", func(d *policy.Document) { d.Edges[0].PathPrefixes = nil },
			[]string{"!access_added a>b [production development] [GET] [* ?] way [api:read] :>"}, 8, 0},
		{"the root is not quite all", func(d *policy.Document) { d.Edges[0].PathPrefixes = []string{"/"} },
			[]string{"!access_added a>b [production development] [GET] [*] way [api:read] :>"}, 4, 0},
		{"by a scope", func(d *policy.Document) { d.Edges[0].Scopes = nil },
			[]string{"!access_added a>b [production development] [GET] [/api] [api:write] :>"}, 2, 0},
		{"a deny in one environment", func(d *policy.Document) {
			d.Edges = append(d.Edges, policy.Edge{Caller: "a", Target: "c", Effect: policy.Deny, Environments: []string{"production"}, PathPrefixes: []string{"/admin"}})
		}, []string{" access_removed a>c [production] [] [/admin ?] way [api:read api:write] :>"}, 0, 6},
		{"a grant", func(d *policy.Document) {
			s := d.Services["a"]
			s.Scopes = []string{"api:write"}
			d.Services["a"] = s
		}, []string{
			" access_removed a>b [production development] [GET] [/api] [api:read] :>",
			" access_removed a>c [production development] [] [] [api:read] :>",
			" access_removed a>isectech-services [production development] [] [] [api:read] :>",
		}, 0, 6},
		{"a service", func(d *policy.Document) {
			d.Services["isectech-d"] = policy.ServiceEntry{Environments: []string{"staging"}, Aliases: []string{"dee"}}
		}, []string{"!access_added isectech-d>isectech-services [staging] [] [] way [] :>"}, 1, 0},
		{"an operator", func(d *policy.Document) { d.Operators[ops] = policy.Operator{Scopes: []string{"admin:write"}} },
			[]string{
				"!access_added operator:" + ops + ">isectech-services [] [] [] [admin:write] :>",
				" access_removed operator:" + ops + ">isectech-services [] [] [] [admin:read] :>",
			}, 1, 1},
		{"an account", func(d *policy.Document) {
			d.ServiceAccounts[robot] = policy.Account{Service: "b", Environment: "production"}
		},
			[]string{"!account_mapped > [] [] [] [] " + robot + ":a in production>b in production"}, 0, 0},
		{"an account less", func(d *policy.Document) { d.ServiceAccounts = nil },
			[]string{" account_mapped > [] [] [] [] " + robot + ":a in production>"}, 0, 0},
		{"an alias", func(d *policy.Document) {
			s := d.Services["a"]
			s.Aliases = []string{"ay"}
			d.Services["a"] = s
		}, []string{" alias_mapped > [] [] [] [] ay:>a"}, 0, 0},
		{"a rate where there was none", func(d *policy.Document) {
			d.Edges[1].RateLimit = &policy.RateLimit{Requests: 20, Per: time.Second}
		}, []string{"!rate_changed a>c [production development] [] [] [] :>20/1s"}, 0, 0},
		{"rates of services", func(d *policy.Document) {
			s := d.Services["c"]
			s.RateLimit = &policy.RateLimit{Requests: 10, Per: time.Minute}
			d.Services["c"] = s
			d.Edges = append(d.Edges, policy.Edge{Caller: "c", Target: "a"})
		}, []string{
			"!access_added c>a [production development] [] [] way [api:read api:write] :>",
			" rate_changed c>isectech-services [production development] [] [] [] :>10/1m in all",
		}, 6, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			changed := base()
			tt.change(changed)
			from, to := compile(t, base()), compile(t, changed)
			there := policy.Diff(from, to, 0)
			var got []string
			for _, c := range there.Changes {
				got = append(got, line(c))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if there.Added != tt.added || there.Removed != tt.removed || there.Same() != (tt.want == nil) {
				t.Errorf("%d added, %d removed, same: %v", there.Added, there.Removed, there.Same())
			}
			if back := policy.Diff(to, from, 0); back.Added != tt.removed || back.Removed != tt.added || len(back.Changes) != len(got) {
				t.Errorf("the way back: %+v", back)
			}
		})
	}
}

// TestDiffIsExhaustive: there is a difference between the answers to a question exactly where Diff says
// there is, whatever the credential.
func TestDiffIsExhaustive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := aDocument(t)
		other := doc.Clone()
		if rapid.Bool().Draw(t, "by an edge") {
			if longer, ok := add(doc, anEdge(t)); ok {
				other = longer
			}
		} else {
			other = aDocument(t)
		}
		a, b := compiled(t, doc), compiled(t, other)
		d := policy.Diff(a, b, 0)
		for range 40 {
			q := aQuestion(t)
			q.AnyRequest, q.Revoked, q.Quarantined, q.RateLimited = false, false, false, false
			q.Held = auth.AllScopes
			q.Required = rapid.SampledFrom(append([]auth.Scopes{0}, auth.APIRead, auth.APIWrite, auth.AdminWrite, auth.ServiceDiscover)).Draw(t, "one scope")
			if q.Target.IsZero() {
				continue
			}
			q.Audience = rapid.SampledFrom([]string{"", q.Target.String()}).Draw(t, "credential") // of a signature or certificate; of a token
			before, after := a.Decide(q).Allow, b.Decide(q).Allow
			if added := foretold(d, policy.AccessAdded, q, doc, other); added != (after && !before) {
				t.Fatalf("%+v: before %v, after %v, foretold as added: %v\n%+v", q, before, after, added, d)
			}
			if removed := foretold(d, policy.AccessRemoved, q, doc, other); removed != (before && !after) {
				t.Fatalf("%+v: before %v, after %v, foretold as removed: %v\n%+v", q, before, after, removed, d)
			}
		}
	})
}

// foretold reports whether a change of a kind covers a question.
func foretold(d policy.Comparison, kind policy.ChangeKind, q policy.Question, docs ...*policy.Document) bool {
	named := map[bool][]string{} // the methods and, under true, the paths that edges between the two name
	for _, doc := range docs {
		for _, e := range doc.Edges {
			if e.Caller == q.Caller.String() && slices.Contains(append([]string{e.Target}, e.Targets...), q.Target.String()) {
				named[false] = append(named[false], e.Methods...)
				named[true] = append(named[true], e.PathPrefixes...)
			}
		}
	}
	method := q.Method
	switch {
	case method == "" || method == "get":
		method = policy.Unreadable
	case !slices.Contains(named[false], method):
		method = policy.Others
	}
	path, sure := naivePath(q.Path)
	if !sure {
		path = policy.Unreadable
	} else {
		best := policy.Others
		for _, prefix := range named[true] {
			if prefix != "/" && (path == prefix || len(path) > len(prefix) && path[:len(prefix)+1] == prefix+"/") && len(prefix) > len(best) {
				best = prefix
			}
		}
		path = best
	}
	return slices.ContainsFunc(d.Changes, func(c policy.Change) bool {
		return c.Kind == kind && c.Caller == q.Caller.String() && c.Target == q.Target.String() &&
			(c.Environments == nil || slices.Contains(c.Environments, q.Environment)) &&
			(c.Methods == nil || slices.Contains(c.Methods, method)) && (c.Paths == nil || slices.Contains(c.Paths, path)) &&
			(q.Required == 0 && c.Way || q.Required != 0 && slices.Contains(c.Scopes, q.Required.String()))
	})
}

// TestDiffIsBounded: the limit bounds what is listed and nothing else, and never hides what widens.
func TestDiffIsBounded(t *testing.T) {
	t.Parallel()
	from, to := &policy.Document{Services: map[string]policy.ServiceEntry{}}, &policy.Document{Services: map[string]policy.ServiceEntry{}}
	for i := range 500 {
		entry := policy.ServiceEntry{Environments: []string{"production"}, Scopes: []string{"api:read"}}
		name, next := fmt.Sprintf("s%03d", i), fmt.Sprintf("s%03d", (i+1)%500)
		from.Services[name], to.Services[name] = entry, entry
		if i < 499 {
			from.Edges = append(from.Edges, policy.Edge{Caller: name, Target: next})
		} else {
			to.Edges = append(to.Edges, policy.Edge{Caller: name, Target: next})
		}
	}
	d := policy.Diff(compile(t, from), compile(t, to), 10)
	if len(d.Changes) != 10 || d.Omitted != 490 || d.Added != 2 || d.Removed != 998 || !d.Widens || !d.Changes[0].Widens || d.Changes[1].Widens {
		t.Errorf("%d changes, %d omitted, +%d -%d, first %+v", len(d.Changes), d.Omitted, d.Added, d.Removed, d.Changes[0])
	}
}
