package policy_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

var (
	names    = []string{"isectech-a", "isectech-b", "c"}
	methods  = []string{"GET", "POST", "DELETE"}
	prefixes = []string{"/", "/api", "/api/v1", "/admin", "/a"}
	paths    = []string{
		"", "/", "/api", "/api/", "/api/v1/x", "/apix", "/a", "/admin", "/%61dmin", "/api/../admin", "/api//v1", "/./api",
		"/api/..", "/../api", "/api/%2e%2e/admin", "/api%2Fv1", "/api;v=1", "/api%3b", "/api\\v1", "/api%5Cv1", "/%", "/%zz", "/%00",
		"/%2561dmin", "api", "/api?x", "/api%20x",
	}
)

// some draws a subset in any order.
func some(t *rapid.T, label string, of []string) []string {
	list := rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, min(2, len(of)), rapid.ID[string]).Draw(t, label)
	return append([]string(nil), list...)
}

func anEdge(t *rapid.T) policy.Edge {
	e := policy.Edge{
		Caller:       rapid.SampledFrom(names).Draw(t, "caller"),
		Effect:       rapid.SampledFrom([]policy.Effect{"", policy.Allow, policy.Allow, policy.Deny}).Draw(t, "effect"),
		Environments: some(t, "edge environments", []string{"production", "staging", "development"}),
		Methods:      some(t, "methods", methods),
		PathPrefixes: some(t, "prefixes", prefixes),
		Scopes:       some(t, "edge scopes", auth.AllScopes.Names()),
	}
	if e.Effect != policy.Deny {
		e.RateLimit = aRate(t)
	}
	if rapid.Bool().Draw(t, "several targets") {
		e.Targets = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID[string]).Draw(t, "targets")
	} else {
		e.Target = rapid.SampledFrom(names).Draw(t, "target")
	}
	return e
}

// add appends an edge to a copy of the document, if that leaves it without errors.
func add(doc *policy.Document, e policy.Edge) (*policy.Document, bool) {
	longer := doc.Clone()
	longer.Edges = append(longer.Edges, e)
	ok := !slices.ContainsFunc(longer.Check(), func(f policy.Finding) bool { return f.Severity == policy.Error })
	return longer, ok
}

func aDocument(t *rapid.T) *policy.Document {
	services := auth.APIRead | auth.APIWrite | auth.ServiceDiscover | auth.MetricsRead
	doc := &policy.Document{
		Services:  map[string]policy.ServiceEntry{},
		Operators: map[string]policy.Operator{ops: {Scopes: some(t, "operator's scopes", auth.AllScopes.Names()), RateLimit: aRate(t)}},
	}
	for _, name := range names {
		s := policy.ServiceEntry{
			Environments: some(t, "environments", []string{"production", "staging", "development"}),
			Scopes:       some(t, "scopes", services.Names()),
			Description:  rapid.SampledFrom([]string{"", "Sells <b>things</b> & more"}).Draw(t, "description"),
			RateLimit:    aRate(t),
		}
		if len(s.Environments) == 0 {
			s.Environments = []string{"production"}
		}
		if name == "isectech-b" {
			s.Aliases = some(t, "aliases", []string{"bee", "buzz"})
		}
		doc.Services[name] = s
	}
	for range rapid.IntRange(0, 6).Draw(t, "edges") {
		if longer, ok := add(doc, anEdge(t)); ok {
			doc = longer
		}
	}
	return doc
}

func aQuestion(t *rapid.T) policy.Question {
	scopes := rapid.Map(rapid.IntRange(0, int(auth.AllScopes)), func(n int) auth.Scopes { return auth.Scopes(n) })
	often := rapid.SampledFrom([]bool{false, false, false, true})
	target := rapid.SampledFrom(append([]string{"", auth.PlatformAudience, "isectech-x"}, append(names, names...)...)).Draw(t, "asked target")
	return policy.Question{
		Caller:      subject(rapid.SampledFrom(append([]string{"", "isectech-x", "operator:" + ops}, append(names, names...)...)).Draw(t, "asking caller")),
		Environment: rapid.SampledFrom(append(auth.Environments(), auth.Production, "")).Draw(t, "environment"),
		Target:      subject(target),
		Audience:    rapid.SampledFrom([]string{"", target, target, "c"}).Draw(t, "audience"),
		Method:      rapid.SampledFrom(append([]string{"", "get"}, methods...)).Draw(t, "method"),
		Path:        rapid.SampledFrom(paths).Draw(t, "path"),
		Held:        scopes.Draw(t, "held"),
		Required:    rapid.SampledFrom([]auth.Scopes{0, auth.APIRead, auth.APIWrite, auth.APIRead | auth.APIWrite, auth.MetricsRead}).Draw(t, "required"),
		AnyRequest:  often.Draw(t, "any request"),
		Revoked:     often.Draw(t, "revoked") && often.Draw(t, "revoked indeed"),
		Quarantined: often.Draw(t, "quarantined") && often.Draw(t, "quarantined indeed"),
		RateLimited: often.Draw(t, "rate limited") && often.Draw(t, "rate limited indeed"),
	}
}

func compiled(t *rapid.T, doc *policy.Document) *policy.Policy {
	p, err := policy.Compile(doc, 7)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDecideAgreesWithOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := aDocument(t)
		p := compiled(t, doc)
		for range 20 {
			q := aQuestion(t)
			agree(t, doc, p, q)
		}
	})
}

// TestEdgeStaysWithinItsTuple: an allow edge changes nothing but what it covers, and there only adds its
// own scopes; a deny edge never lets anything through.
func TestEdgeStaysWithinItsTuple(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc, e := aDocument(t), anEdge(t)
		longer, ok := add(doc, e)
		if !ok {
			t.Skip("the edge is there already")
		}
		own := auth.AllScopes
		if len(e.Scopes) > 0 {
			own = 0
			for _, name := range e.Scopes {
				one, _ := auth.ParseScope(name)
				own |= one
			}
		}
		before, after := compiled(t, doc), compiled(t, longer)
		for range 20 {
			q := aQuestion(t)
			a, b := before.Decide(q), after.Decide(q)
			switch {
			case !naiveCovers(e, q):
				if !same(a, b) {
					t.Fatalf("the edge does not cover %+v\nbefore %+v\nafter  %+v", q, a, b)
				}
			case e.Effect == policy.Deny:
				if b.Allow && !a.Allow || !a.Scopes.Has(b.Scopes) {
					t.Fatalf("a deny edge gives in %+v\nbefore %+v\nafter  %+v", q, a, b)
				}
			default:
				if a.Allow && !b.Allow || !b.Scopes.Has(a.Scopes) {
					t.Fatalf("an allow edge takes away in %+v\nbefore %+v\nafter  %+v", q, a, b)
				}
				if q.Required != 0 && q.Required&own == 0 && a.Allow != b.Allow {
					t.Fatalf("the edge carries nothing of what %+v requires\nbefore %+v\nafter  %+v", q, a, b)
				}
			}
		}
	})
}

func TestOrderOfEdgesDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := aDocument(t)
		other := doc.Clone()
		other.Edges = rapid.Permutation(other.Edges).Draw(t, "edges in another order")
		p, o := compiled(t, doc), compiled(t, other)
		for range 10 {
			if q := aQuestion(t); !same(p.Decide(q), o.Decide(q)) {
				t.Fatalf("%+v: %+v, in another order %+v", q, p.Decide(q), o.Decide(q))
			}
		}
	})
}

func TestExplainIsDecide(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, aDocument(t))
		for range 20 {
			q := aQuestion(t)
			x := p.Explain(q)
			if d := p.Decide(q); d != x.Decision {
				t.Fatalf("%+v\nexplained %+v\ndecided   %+v", q, x.Decision, d)
			}
			failed := 0
			for _, r := range x.Rules {
				if r.Rule == "" || r.Outcome == "" || r.Detail == "" {
					t.Fatalf("%+v: a rule says nothing: %+v", q, r)
				}
				if r.Outcome == policy.Failed {
					failed++
				}
			}
			if x.Allow != (failed == 0) || failed > 1 || x.Allow != (x.Fix == "") {
				t.Fatalf("%+v\n%+v", q, x)
			}
		}
	})
}

func TestDocumentRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := aDocument(t)
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := policy.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(doc.Clone(), again.Clone()); diff != "" {
			t.Fatalf("(-written +read):\n%s", diff)
		}
		var lax policy.Document
		if err := json.Unmarshal(data, &lax); err != nil || !cmp.Equal(again, &lax) {
			t.Fatalf("json.Unmarshal reads something else: %v\n%s", err, cmp.Diff(again, &lax))
		}
		if data2, err := json.Marshal(again); err != nil || string(data2) != string(data) {
			t.Fatalf("not canonical: %v\n%s\n%s", err, data, data2)
		}
		p, o := compiled(t, doc), compiled(t, again)
		for range 10 {
			if q := aQuestion(t); !same(p.Decide(q), o.Decide(q)) {
				t.Fatalf("%+v: %+v, read again %+v", q, p.Decide(q), o.Decide(q))
			}
		}
	})
}
