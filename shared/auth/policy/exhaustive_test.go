package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// dozen is a policy of twelve services whose edges are narrowed in every way, and in every combination of
// two, with deny edges across them.
func dozen() *policy.Document {
	doc := &policy.Document{
		Services:  map[string]policy.ServiceEntry{},
		Operators: map[string]policy.Operator{ops: {Scopes: []string{"admin:read"}, RateLimit: &policy.RateLimit{Requests: 5, Per: time.Second}}},
	}
	environments := [][]string{{"production"}, {"production", "staging"}, {"production", "staging", "development"}, {"development"}}
	scopes := [][]string{{"api:read"}, {"api:read", "api:write"}, {"api:read", "api:write", "metrics:read", "service:discover"}}
	name := func(i int) string { return fmt.Sprintf("isectech-s%02d", i%12) }
	for i := range 12 {
		s := policy.ServiceEntry{Environments: environments[i%4], Scopes: scopes[i%3]}
		if i%5 == 0 {
			s.RateLimit = &policy.RateLimit{Requests: int64(100 + i), Per: time.Minute}
		}
		doc.Services[name(i)] = s
	}
	narrow := []func(*policy.Edge){
		func(*policy.Edge) {},
		func(e *policy.Edge) { e.Methods = []string{"GET", "PURGE"} },
		func(e *policy.Edge) { e.PathPrefixes = []string{"/api", "/v1/items"} },
		func(e *policy.Edge) { e.Scopes = []string{"api:read"} },
		func(e *policy.Edge) { e.Environments = []string{"production"} },
		func(e *policy.Edge) { e.RateLimit = &policy.RateLimit{Requests: 10, Per: time.Minute} },
	}
	for i := range 12 {
		for j, first := range narrow {
			allow := policy.Edge{Caller: name(i), Target: name(i + j)}
			first(&allow)
			narrow[(i+j)%len(narrow)](&allow)
			doc.Edges = append(doc.Edges, allow, policy.Edge{Caller: name(i), Target: name(i + j), PathPrefixes: []string{"/open"}})
			if k := (i + 2*j) % 5; k < len(narrow)-1 && (i+j)%3 == 0 { // a rate is nothing to deny
				deny := policy.Edge{Caller: name(i), Target: name(i + j), Effect: policy.Deny}
				narrow[k](&deny)
				doc.Edges = append(doc.Edges, deny)
			}
		}
	}
	return doc
}

// TestOracleTwelveServices compares the engine with the oracle on the whole space of twelve services and
// who is none of them, environments, methods, paths, scopes and kinds of credential; and, where the
// request is covered, on every state that the caller can be in.
func TestOracleTwelveServices(t *testing.T) {
	t.Parallel()
	doc := dozen()
	p := compile(t, doc)
	names := []string{"", auth.PlatformAudience, "isectech-unheard-of", "operator:" + ops, "operator:eve@isectech.com"}
	for name := range doc.Services {
		names = append(names, name)
	}
	methods := []string{"GET", "POST", "PURGE", "get", ""}
	paths := []string{"/api/x", "/v1/items", "/open/../api", "/else", "/api%2Fx", ""}
	required := []auth.Scopes{0, auth.APIRead | auth.MetricsRead}
	for one := auth.Scopes(1); one <= auth.AllScopes; one <<= 1 {
		required = append(required, one)
	}
	for _, caller := range names {
		t.Run(caller, func(t *testing.T) {
			t.Parallel()
			allowed, denied := 0, 0
			ask := func(q policy.Question) bool {
				agree(t, doc, p, q)
				if !p.Decide(q).Allow {
					denied++
					return false
				}
				allowed++
				return true
			}
			for _, target := range names {
				for _, env := range auth.Environments() {
					// A token for the target and one for another, a signature or certificate, and no request yet.
					credentials := []policy.Question{
						{Audience: target, Held: auth.AllScopes}, {Audience: target, Held: auth.APIRead}, {Audience: "isectech-s03", Held: auth.AllScopes},
						{Held: p.Grant(subject(caller), env)}, {Held: auth.AllScopes, AnyRequest: true},
					}
					for _, q := range credentials {
						q.Caller, q.Target, q.Environment = subject(caller), subject(target), env
						for _, q.Method = range methods {
							for _, q.Path = range paths {
								for _, q.Required = range required {
									ask(q)
								}
							}
						}
						q.Method, q.Path, q.Required = "GET", "/open/x", 0
						for state := range 8 {
							q.Revoked, q.Quarantined, q.RateLimited = state&1 != 0, state&2 != 0, state&4 != 0
							if ask(q) && state != 0 {
								t.Fatalf("let through: %+v", q)
							}
						}
					}
				}
			}
			t.Logf("%d allowed, %d denied", allowed, denied)
		})
	}
}
