package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// narrowed is a policy whose every edge is narrowed in some way.
func narrowed(t testing.TB) *policy.Policy {
	t.Helper()
	service := func(scopes ...string) policy.ServiceEntry {
		return policy.ServiceEntry{Environments: []string{"production", "development"}, Scopes: scopes}
	}
	production := service("api:read", "api:write")
	production.Environments = []string{"production"}
	return compile(t, &policy.Document{
		Services: map[string]policy.ServiceEntry{
			"a": service("api:read", "api:write"), "b": service("api:read", "api:write"),
			"c": service("api:read", "api:write"), "d": service("api:read", "api:write"), "p": production,
		},
		Edges: []policy.Edge{
			{Caller: "a", Target: "b", Methods: []string{"GET"}, PathPrefixes: []string{"/api", "/v1/items"}, Scopes: []string{"api:read"}},
			{Caller: "a", Target: "b", Methods: []string{"POST"}, PathPrefixes: []string{"/api"}},
			{Caller: "a", Target: "c"},
			{Caller: "a", Target: "c", Effect: policy.Deny, PathPrefixes: []string{"/admin"}},
			{Caller: "a", Target: "c", Effect: policy.Deny, Methods: []string{"DELETE"}, Scopes: []string{"api:write"}},
			{Caller: "a", Target: "d", Environments: []string{"development"}},
			{Caller: "a", Target: "p"},
			{Caller: "b", Target: "c"},
			{Caller: "b", Target: "c", Effect: policy.Deny, Environments: []string{"production"}},
			{Caller: "b", Target: "d", Scopes: []string{"api:read"}},
			{Caller: "b", Target: "d", Effect: policy.Deny, Scopes: []string{"api:write"}},
		},
		Operators: map[string]policy.Operator{ops: {Scopes: []string{"admin:write"}}},
	})
}

func TestDecideNarrowedEdges(t *testing.T) {
	t.Parallel()
	p := narrowed(t)
	const read, write = auth.APIRead, auth.APIWrite
	tests := []struct {
		name           string
		caller, target string
		env            auth.Environment
		method, path   string
		anyRequest     bool
		required       auth.Scopes
		reason         auth.Reason
		scopes         auth.Scopes
	}{
		{name: "method and path covered", caller: "a", target: "b", method: "GET", path: "/api/x", reason: auth.Allowed, scopes: read},
		{name: "the other prefix", caller: "a", target: "b", method: "GET", path: "/v1/items", reason: auth.Allowed, scopes: read},
		{name: "the other edge carries more", caller: "a", target: "b", method: "POST", path: "/api", reason: auth.Allowed, scopes: read | write},
		{name: "scope of the other edge", caller: "a", target: "b", method: "GET", path: "/api", required: write, reason: auth.InsufficientScope, scopes: read},
		{name: "method of one, prefix of the other", caller: "a", target: "b", method: "POST", path: "/v1/items", reason: auth.UntrustedEdge},
		{name: "segment, not text", caller: "a", target: "b", method: "GET", path: "/apix", reason: auth.UntrustedEdge},
		{name: "no path", caller: "a", target: "b", method: "GET", reason: auth.UntrustedEdge},
		{name: "no method", caller: "a", target: "b", path: "/api", reason: auth.UntrustedEdge},
		{name: "lower case method", caller: "a", target: "b", method: "get", path: "/api", reason: auth.UntrustedEdge},
		{name: "HEAD is not GET", caller: "a", target: "b", method: "HEAD", path: "/api", reason: auth.UntrustedEdge},
		{name: "dots lead out", caller: "a", target: "b", method: "GET", path: "/api/../x", reason: auth.UntrustedEdge},
		{name: "dots lead in", caller: "a", target: "b", method: "GET", path: "/x/../api", reason: auth.Allowed, scopes: read},
		{name: "encoded slash", caller: "a", target: "b", method: "GET", path: "/api%2Fx", reason: auth.UntrustedEdge},
		{name: "encoded letter", caller: "a", target: "b", method: "GET", path: "/%61pi", reason: auth.Allowed, scopes: read},
		{name: "for a token", caller: "a", target: "b", anyRequest: true, reason: auth.Allowed, scopes: read | write},

		{name: "beside the denied path", caller: "a", target: "c", method: "GET", path: "/", reason: auth.Allowed, scopes: read | write},
		{name: "denied path", caller: "a", target: "c", method: "GET", path: "/admin/x", reason: auth.UntrustedEdge},
		{name: "denied path, encoded", caller: "a", target: "c", method: "GET", path: "/%61dmin", reason: auth.UntrustedEdge},
		{name: "denied path, by dots", caller: "a", target: "c", method: "GET", path: "/x/..//admin", reason: auth.UntrustedEdge},
		{name: "maybe denied path", caller: "a", target: "c", method: "GET", path: "/adm%2569n", reason: auth.UntrustedEdge},
		{name: "unknown path, maybe denied", caller: "a", target: "c", method: "GET", reason: auth.UntrustedEdge},
		{name: "withheld scope", caller: "a", target: "c", method: "DELETE", path: "/x", reason: auth.Allowed, scopes: read},
		{name: "withheld scope required", caller: "a", target: "c", method: "DELETE", path: "/x", required: write, reason: auth.InsufficientScope, scopes: read},
		{name: "unknown method, maybe withheld", caller: "a", target: "c", path: "/x", required: write, reason: auth.InsufficientScope, scopes: read},
		{name: "odd method, maybe withheld", caller: "a", target: "c", method: "Delete", path: "/x", required: write, reason: auth.InsufficientScope, scopes: read},
		{name: "for a token, denies wait", caller: "a", target: "c", anyRequest: true, reason: auth.Allowed, scopes: read | write},

		{name: "edge of another environment", caller: "a", target: "d", reason: auth.UntrustedEdge},
		{name: "edge of this environment", caller: "a", target: "d", env: auth.Development, reason: auth.Allowed, scopes: read | write},
		{name: "target in production only", caller: "a", target: "p", reason: auth.Allowed, scopes: read | write},
		{name: "target not in development", caller: "a", target: "p", env: auth.Development, reason: auth.UntrustedEdge},
		{name: "no environment", caller: "a", target: "p", env: "-", reason: auth.UntrustedEdge},
		{name: "denied environment", caller: "b", target: "c", reason: auth.UntrustedEdge},
		{name: "denied environment, for a token", caller: "b", target: "c", anyRequest: true, reason: auth.UntrustedEdge},
		{name: "environment beside the denied", caller: "b", target: "c", env: auth.Development, reason: auth.Allowed, scopes: read | write},
		{name: "deny of a scope that is not carried", caller: "b", target: "d", reason: auth.Allowed, scopes: read},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := policy.Question{
				Caller: subject(tt.caller), Environment: auth.Production, Target: subject(tt.target), Audience: tt.target,
				Method: tt.method, Path: tt.path, AnyRequest: tt.anyRequest, Held: auth.AllScopes, Required: tt.required,
			}
			switch tt.env {
			case "":
			case "-":
				q.Environment = ""
			default:
				q.Environment = tt.env
			}
			want := policy.Decision{Allow: tt.reason == auth.Allowed, Reason: tt.reason, PolicyVersion: 7, Scopes: tt.scopes}
			if diff := cmp.Diff(want, p.Decide(q)); diff != "" {
				t.Errorf("(-want +got):\n%s\n%+v", diff, p.Explain(q).Rules)
			}
		})
	}
}

// TestDecideOrder takes the reasons of one hopeless question away, first to last.
func TestDecideOrder(t *testing.T) {
	t.Parallel()
	p := compile(t, shipped(t))
	q := policy.Question{
		Caller: subject("isectech-unheard-of"), Target: subject("isectech-nowhere"), Environment: auth.Staging,
		Audience: "isectech-monitoring", Held: auth.APIRead, Required: auth.APIWrite,
		Revoked: true, Quarantined: true, RateLimited: true,
	}
	steps := []struct {
		reason auth.Reason
		mend   func()
	}{
		{auth.UnknownService, func() { q.Caller = subject("isectech-frontend") }},
		{auth.Revoked, func() { q.Revoked = false }},
		{auth.Quarantined, func() { q.Quarantined = false }},
		{auth.UnknownService, func() { q.Target = subject("isectech-admin") }},
		{auth.UntrustedEdge, func() { q.Target = subject("isectech-api-gateway") }},
		{auth.UntrustedEdge, func() { q.Environment = auth.Production }},
		{auth.WrongAudience, func() { q.Audience = "isectech-api-gateway" }},
		{auth.InsufficientScope, func() { q.Held |= auth.APIWrite }},
		{auth.RateLimited, func() { q.RateLimited = false }},
		{auth.Allowed, func() {}},
	}
	for i, step := range steps {
		if got := p.Decide(q); got.Reason != step.reason || got.Allow != (step.reason == auth.Allowed) {
			t.Fatalf("step %d: %s, want %s", i, got.Reason, step.reason)
		}
		step.mend()
	}
}

func TestDecideCredentials(t *testing.T) {
	t.Parallel()
	p := compile(t, shipped(t))
	operator := "operator:" + ops
	tests := []struct {
		name     string
		q        policy.Question
		reason   auth.Reason
		scopes   auth.Scopes
		caller   string
		target   string
		platform bool
	}{
		{name: "no target: nothing of the edge is judged", caller: "isectech-admin",
			q: policy.Question{Audience: "elsewhere", Held: auth.AllScopes, Required: auth.APIRead}, reason: auth.Allowed, scopes: auth.ServiceDiscover},
		{name: "no target, environment withdrawn: nothing is left", caller: "isectech-admin",
			q: policy.Question{Environment: auth.Staging, Held: auth.AllScopes}, reason: auth.Allowed},
		{name: "a withdrawn grant is lost at once", caller: "isectech-frontend", target: "isectech-api-gateway",
			q: policy.Question{Held: auth.AdminWrite | auth.APIRead, Required: auth.AdminWrite}, reason: auth.InsufficientScope, scopes: auth.APIRead},
		{name: "a service's token at the platform", caller: "isectech-frontend", platform: true,
			q: policy.Question{Audience: "isectech-api-gateway", Held: auth.AllScopes}, reason: auth.WrongAudience},
		{name: "a platform token at a service", caller: "isectech-frontend", target: "isectech-api-gateway",
			q: policy.Question{Audience: auth.PlatformAudience, Held: auth.AllScopes}, reason: auth.WrongAudience},
		{name: "an alias is no audience", caller: "isectech-api-gateway", target: "isectech-backend-services",
			q: policy.Question{Audience: "backend", Held: auth.AllScopes}, reason: auth.WrongAudience},
		{name: "the platform from an environment the caller is not in", caller: "isectech-frontend", platform: true,
			q: policy.Question{Environment: auth.Staging, Held: auth.AllScopes}, reason: auth.UntrustedEdge},
		{name: "an operator at the platform", caller: operator, platform: true,
			q: policy.Question{Audience: auth.PlatformAudience, Held: auth.AllScopes, Required: auth.AdminWrite}, reason: auth.Allowed, scopes: auth.AdminRead | auth.AdminWrite},
		{name: "an operator without target", caller: operator,
			q: policy.Question{Held: auth.AdminRead}, reason: auth.Allowed, scopes: auth.AdminRead},
		{name: "an operator at a service", caller: operator, target: "isectech-frontend",
			q: policy.Question{Held: auth.AllScopes}, reason: auth.UntrustedEdge},
		{name: "an operator nobody knows", caller: "operator:eve@isectech.com", platform: true,
			q: policy.Question{Held: auth.AllScopes}, reason: auth.UnknownService},
		{name: "an operator as target", caller: "isectech-frontend", target: operator,
			q: policy.Question{Held: auth.AllScopes}, reason: auth.UnknownService},
		{name: "the platform as caller", caller: auth.PlatformAudience, target: "isectech-frontend",
			q: policy.Question{Held: auth.AllScopes}, reason: auth.UnknownService},
		{name: "nobody as caller", target: "isectech-frontend", q: policy.Question{Held: auth.AllScopes}, reason: auth.UnknownService},
		{name: "an unknown target of a revoked caller says nothing of the target", caller: "isectech-frontend", target: "isectech-nowhere",
			q: policy.Question{Revoked: true}, reason: auth.Revoked},
		{name: "rate limited without target", caller: "isectech-frontend",
			q: policy.Question{RateLimited: true, Held: auth.APIRead}, reason: auth.RateLimited, scopes: auth.APIRead},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := tt.q
			q.Caller, q.Target = subject(tt.caller), subject(tt.target)
			if tt.platform {
				q.Target = policy.Platform()
			}
			if q.Environment == "" && !q.Caller.IsOperator() {
				q.Environment = auth.Production
			}
			want := policy.Decision{Allow: tt.reason == auth.Allowed, Reason: tt.reason, PolicyVersion: 7, Scopes: tt.scopes}
			if diff := cmp.Diff(want, p.Decide(q)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p, n := compile(t, shipped(t)), narrowed(t)
	tests := []struct {
		name string
		p    *policy.Policy
		q    policy.Question
	}{
		{"allowed", p, policy.Question{Caller: subject("isectech-frontend"), Environment: auth.Production,
			Target: subject("isectech-api-gateway"), Audience: "isectech-api-gateway", Held: auth.APIRead, Required: auth.APIRead}},
		{"denied", p, policy.Question{Caller: subject("isectech-admin"), Environment: auth.Production, Target: subject("isectech-frontend")}},
		{"unknown", p, policy.Question{Caller: subject("isectech-x"), Target: subject("isectech-y")}},
		{"platform", p, policy.Question{Caller: subject("isectech-admin"), Environment: auth.Production, Target: policy.Platform()}},
		{"narrowed, plain path", n, policy.Question{Caller: subject("a"), Environment: auth.Production, Target: subject("b"),
			Method: "GET", Path: "/v1/items/17", Held: auth.APIRead}},
	}
	for _, tt := range tests { // not parallel: AllocsPerRun counts what others allocate, too
		t.Run(tt.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, func() { tt.p.Decide(tt.q) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
