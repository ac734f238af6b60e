package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// TestExplainRules reads one explanation to the end.
func TestExplainRules(t *testing.T) {
	t.Parallel()
	got := narrowed(t).Explain(policy.Question{
		Caller: subject("a"), Environment: auth.Production, Target: subject("c"), Audience: "c",
		Method: "DELETE", Path: "/adm%69n2", Held: auth.APIRead | auth.APIWrite, Required: auth.APIWrite,
	})
	want := policy.Explanation{
		Decision: policy.Decision{Reason: auth.InsufficientScope, PolicyVersion: 7, Scopes: auth.APIRead},
		Rules: []policy.Rule{
			{"caller_known", "services.a", policy.Passed, "The policy knows the service a."},
			{"not_revoked", "", policy.Passed, "Nothing of the caller is revoked."},
			{"not_quarantined", "", policy.Passed, "Neither side is quarantined."},
			{"target_known", "services.c", policy.Passed, "The policy knows the service c."},
			{"trusted_edge", "", policy.Passed, "a may reach c in production so."},
			{"allow", "edges[2]", policy.Applied, "It covers every method and path. It carries api:read api:write."},
			{"deny", "edges[3]", policy.NotApplied, `It covers /admin and below; the path is "/admin2".`},
			{"deny", "edges[4]", policy.Applied, "It covers DELETE; the method is DELETE. It withholds api:write."},
			{"audience", "", policy.Passed, "The token was issued for c."},
			{"scopes", "services.a.scopes", policy.Failed, "Required: api:write. Held: api:read api:write. Granted here: api:read. Usable: api:read."},
			{"rate_limit", "", policy.NotJudged, "The question was refused before."},
		},
		Fix: "Let the edges from a to c carry api:write.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestExplainFix does what each explanation advises and sees the outcome turn.
func TestExplainFix(t *testing.T) {
	t.Parallel()
	edge := func(e policy.Edge) func(*policy.Document) {
		return func(doc *policy.Document) { doc.Edges = append(doc.Edges, e) }
	}
	start := func() *policy.Document {
		doc := shipped(t)
		s := doc.Services["isectech-monitoring"]
		s.Environments = []string{"development"}
		doc.Services["isectech-monitoring"] = s
		doc.Edges = append(doc.Edges,
			policy.Edge{Caller: "isectech-backend-services", Target: "isectech-backend-services", Effect: policy.Deny},
			policy.Edge{Caller: "isectech-admin", Target: "isectech-frontend", Methods: []string{"GET"}},
			policy.Edge{Caller: "isectech-admin", Target: "isectech-backend-services", Scopes: []string{"service:discover"}},
		)
		return doc
	}
	ask := func(caller, target string) policy.Question {
		return policy.Question{Caller: subject(caller), Target: subject(target), Environment: auth.Production, Held: auth.AllScopes}
	}
	tests := []struct {
		name   string
		q      policy.Question
		fix    string
		change func(doc *policy.Document) // nil: the question
		mend   func(q *policy.Question)
	}{
		{name: "unknown caller", q: ask("isectech-new", "isectech-services"), fix: "Add isectech-new to the policy, as services.isectech-new.",
			change: func(doc *policy.Document) {
				doc.Services["isectech-new"] = policy.ServiceEntry{Environments: []string{"production"}}
			}},
		{name: "unknown operator", q: ask("operator:eve@isectech.com", "isectech-services"),
			fix:    "Add eve@isectech.com to the policy, as operators.eve@isectech.com.",
			change: func(doc *policy.Document) { doc.Operators["eve@isectech.com"] = policy.Operator{} }},
		{name: "no edge", q: ask("isectech-frontend", "isectech-admin"), fix: "Add an edge from isectech-frontend to isectech-admin.",
			change: edge(policy.Edge{Caller: "isectech-frontend", Target: "isectech-admin"})},
		{name: "narrow edge", q: ask("isectech-admin", "isectech-frontend"),
			fix:  "Let edges[5] cover this request, or say which method and path it has.",
			mend: func(q *policy.Question) { q.Method = "GET" }},
		{name: "deny edge", q: ask("isectech-backend-services", "isectech-backend-services"), fix: "Take away or narrow the deny edge edges[4].",
			change: func(doc *policy.Document) { doc.Edges = append(doc.Edges[:4], doc.Edges[5:]...) }},
		{name: "environment of the caller", q: ask("isectech-monitoring", "isectech-admin"),
			fix: "Add production to services.isectech-monitoring.environments.",
			change: func(doc *policy.Document) {
				s := doc.Services["isectech-monitoring"]
				s.Environments = append(s.Environments, "production")
				doc.Services["isectech-monitoring"] = s
			}},
		{name: "operator at a service", q: ask("operator:"+ops, "isectech-admin"),
			fix:  "Let a service call, or address the platform: operators may address nothing else.",
			mend: func(q *policy.Question) { q.Target = policy.Platform() }},
		{name: "audience", q: policy.Question{Caller: subject("isectech-frontend"), Target: policy.Platform(), Environment: auth.Production, Audience: "isectech-admin"},
			fix:  "Ask for a token whose audience is isectech-services.",
			mend: func(q *policy.Question) { q.Audience = "isectech-services" }},
		{name: "scope not granted", q: policy.Question{Caller: subject("isectech-admin"), Target: policy.Platform(), Environment: auth.Production, Held: auth.AllScopes, Required: auth.MetricsRead},
			fix: "Add metrics:read to services.isectech-admin.scopes.",
			change: func(doc *policy.Document) {
				s := doc.Services["isectech-admin"]
				s.Scopes = append(s.Scopes, "metrics:read")
				doc.Services["isectech-admin"] = s
			}},
		{name: "admin scope", q: policy.Question{Caller: subject("isectech-admin"), Target: policy.Platform(), Environment: auth.Production, Held: auth.AllScopes, Required: auth.AdminWrite},
			fix:  "Let an operator do this: no service can hold admin:write.",
			mend: func(q *policy.Question) { q.Caller = subject("operator:" + ops) }},
		{name: "scope not held", q: policy.Question{Caller: subject("isectech-frontend"), Target: subject("isectech-api-gateway"), Environment: auth.Production, Held: auth.APIRead, Required: auth.APIWrite},
			fix:  "Use a credential that holds api:write.",
			mend: func(q *policy.Question) { q.Held |= auth.APIWrite }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			doc, q := start(), tt.q
			x := compile(t, doc).Explain(q)
			if x.Allow || x.Fix != tt.fix {
				t.Fatalf("%s: %q, want %q", x.Reason, x.Fix, tt.fix)
			}
			if tt.change != nil {
				tt.change(doc)
			}
			if tt.mend != nil {
				tt.mend(&q)
			}
			if d := compile(t, doc).Decide(q); !d.Allow {
				t.Errorf("still %s after: %s", d.Reason, tt.fix)
			}
		})
	}
}
