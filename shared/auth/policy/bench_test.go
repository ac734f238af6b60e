package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// crowd makes a policy of n services, each of which may call the next. With narrow, its edge is narrowed
// to a method and a path.
func crowd(b *testing.B, n int, narrow bool) (*policy.Policy, []auth.Subject) {
	b.Helper()
	doc := &policy.Document{Services: make(map[string]policy.ServiceEntry, n)}
	subjects := make([]auth.Subject, n)
	for i := range n {
		subjects[i] = auth.MustSubject(fmt.Sprintf("isectech-service-%05d", i))
		doc.Services[subjects[i].String()] = policy.ServiceEntry{
			Environments: []string{"production"}, Scopes: []string{"api:read", "api:write"},
		}
	}
	for i := range n {
		e := policy.Edge{Caller: subjects[i].String(), Target: subjects[(i+1)%n].String()}
		if narrow {
			e.Methods, e.PathPrefixes = []string{"GET"}, []string{"/api/v1"}
		}
		doc.Edges = append(doc.Edges, e)
	}
	p, err := policy.Compile(doc, 1)
	if err != nil {
		b.Fatal(err)
	}
	return p, subjects
}

// BenchmarkDecide compares decisions with one bare map lookup by the caller's name among as many entries,
// over the same random order of callers.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		p, subjects := crowd(b, n, false)
		narrowed, _ := crowd(b, n, true)
		order := rand.New(rand.NewPCG(1, 2)).Perm(n)
		bare := make(map[string]int64, n)
		for i, sub := range subjects {
			bare[sub.String()] = int64(i)
		}
		questions, keys := make([]policy.Question, n), make([]string, n)
		for i, caller := range order {
			keys[i] = subjects[caller].String()
			target := subjects[(caller+1)%n]
			questions[i] = policy.Question{
				Caller: subjects[caller], Environment: auth.Production, Target: target, Audience: target.String(),
				Method: "GET", Path: "/api/v1/items/17", Held: auth.APIRead, Required: auth.APIRead,
			}
		}
		b.Run(fmt.Sprintf("services=%d/lookup", n), func(b *testing.B) {
			b.ReportAllocs()
			var sum int64
			for i := 0; b.Loop(); i++ {
				sum += bare[keys[i%n]]
			}
		})
		for _, bb := range []struct {
			name   string
			p      *policy.Policy
			target func(q *policy.Question) // nil: as it is
			allow  bool
		}{
			{"allow", p, nil, true},
			{"narrowed", narrowed, nil, true},
			{"platform", p, func(q *policy.Question) { q.Target, q.Audience = policy.Platform(), auth.PlatformAudience }, true},
			{"deny", p, func(q *policy.Question) { q.Target = q.Caller }, false},
		} {
			asked := slices.Clone(questions)
			for i := range asked {
				if bb.target != nil {
					bb.target(&asked[i])
				}
			}
			b.Run(fmt.Sprintf("services=%d/%s", n, bb.name), func(b *testing.B) {
				b.ReportAllocs()
				allowed := bb.allow
				for i := 0; b.Loop(); i++ {
					allowed = bb.p.Decide(asked[i%n]).Allow
				}
				if allowed != bb.allow {
					b.Fatalf("allowed: %v", allowed)
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	doc := policy.Default()
	for b.Loop() {
		if _, err := policy.Compile(doc, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDiff compares policies of many services: one with itself, and with one whose every edge is another.
func BenchmarkDiff(b *testing.B) {
	const n = 10_000
	from, _ := crowd(b, n, true)
	to, _ := crowd(b, n, false)
	for name, pair := range map[string][2]*policy.Policy{"same": {from, from}, "everything": {from, to}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				policy.Diff(pair[0], pair[1], 100)
			}
		})
	}
}
