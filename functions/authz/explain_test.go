package authz

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// rules returns what the answer says of the rules considered: the outcome of each stage, and of each edge by its path.
func (a answer) rules(t *testing.T) map[string]string {
	t.Helper()
	var body struct {
		Rules []policy.Rule `json:"rules"`
	}
	if err := json.Unmarshal(a.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	outcomes := make(map[string]string)
	for _, r := range body.Rules {
		name := r.Rule
		if name == string(policy.Allow) || name == string(policy.Deny) {
			name = r.Path
		}
		outcomes[name] = string(r.Outcome)
	}
	return outcomes
}

// Whoever asks about its own request may hear the rules, which are those that the decision's id explains too.
func TestValidateExplained(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bearer := f.Token(t, gateway, backend, auth.APIRead)
	for _, tc := range []struct {
		name, bearer string
		header       []string
		status       int
		rule         string
		outcome      policy.Outcome
	}{
		{"allowed", bearer, []string{headerTargetService, backend}, 200, "rate_limit", policy.Passed},
		{"without a target", bearer, nil, 200, "trusted_edge", policy.NotJudged},
		{"denied", bearer, []string{headerTargetService, backend, headerRequiredScopes, "api:write"}, 403, "scopes", policy.Failed},
		{"no scope", bearer, []string{headerTargetService, backend, headerRequiredScopes, "nope"}, 403, "scopes", policy.Failed},
		{"for somebody else", bearer, []string{headerTargetService, "admin"}, 401, "audience", policy.Failed},
		{"no token", "x.y.z", nil, 401, "authentication", policy.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := f.get(t, validatePath+"?explain=true&x=%zz", tc.bearer, tc.header...)
			if a.Code != tc.status || a.rules(t)[tc.rule] != string(tc.outcome) {
				t.Errorf("%d %s", a.Code, a.Body)
			}
			later := f.get(t, "/internal/auth/decisions/"+a.text("decision_id"), f.operator(t))
			if got := later.rules(t)[tc.rule]; got != string(tc.outcome) || later.text("reason") != a.text("reason") {
				t.Errorf("by its id: %d %s", later.Code, later.Body)
			}
			for _, query := range []string{"", "?explain=false", "?explain", "?explain=1"} {
				if a := f.get(t, validatePath+query, tc.bearer, tc.header...); a.Code != tc.status || a.body["rules"] != nil {
					t.Errorf("%s: %d %s", query, a.Code, a.Body)
				}
			}
		})
	}
}

// With nothing in reach to judge by, and none of the keys that make ids, a denial is one all the same: it says so and is
// recorded.
func TestDenialWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bearer := f.Token(t, gateway, backend, auth.APIRead)
	for _, call := range []string{storetest.CallGet, storetest.CallChanges, storetest.CallQuery} {
		f.store.Fail(call, -1, store.ErrUnavailable)
	}
	a := f.get(t, validatePath+"?explain=true", bearer, headerTargetService, backend)
	a.want(t, 503, "unavailable", auth.PolicyUnavailable)
	if a.body["valid"] != false || a.text("decision") != "deny" || a.body["decision_id"] != nil || a.Header().Get("Retry-After") == "" ||
		a.rules(t)["authentication"] != string(policy.Failed) {
		t.Errorf("%s, headers %v", a.Body, a.Header())
	}
	if logs := f.Logs.String(); strings.Count(logs, `"msg":"authorization decision","decision":"deny","reason":"policy_unavailable"`) != 1 ||
		!strings.Contains(logs, `"msg":"request failed","status":503,"code":"unavailable","cause":"unavailable: `) || strings.Contains(a.Body.String(), "revocations") {
		t.Errorf("%s", logs)
	}
}

// A proxy's client hears of no rules: the query may be its own.
func TestValidateExplainsNothingToClientsOfProxies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bearer := f.Token(t, gateway, backend, auth.APIRead)
	for _, tc := range []struct{ name, path, proof, header string }{
		{"the client's query beside", validatePath + "?explain=true", marker, "X-Forwarded-Uri"},
		{"the client's query in full", validatePath, marker, "X-Original-Uri"},
		{"appended", validatePath + "/x?explain=true", marker, ""},
		{"appended, by anyone", validatePath + "/x?explain=true", "guess", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, tc.path, nil)
			r.Header.Set("Authorization", "Bearer "+bearer)
			r.Header.Set(headerTargetService, "frontend")
			r.Header.Set(authn.HeaderProxyMarker, tc.proof)
			if tc.header != "" {
				r.Header.Set(tc.header, "/x?explain=true")
			}
			if a := f.call(t, r); a.Code != 401 || a.text("reason") != string(auth.WrongAudience) || a.body["rules"] != nil {
				t.Errorf("%d %s", a.Code, a.Body)
			}
		})
	}
}

// However long a path is, its decision is explained by the edges that made it, and by what would change it.
func TestDecisionOnALongPath(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(t, func(d *policy.Document) {
		d.Edges = []policy.Edge{{Caller: gateway, Target: backend, PathPrefixes: []string{"/api"}}}
	})
	long := strings.Repeat("x", 600)
	for _, tc := range []struct {
		name, path string
		reason     auth.Reason
		outcome    policy.Outcome
	}{
		{"allowed", "/api/" + long, auth.Allowed, policy.Applied},
		{"cut within an escape", "/api/" + strings.Repeat("%41", 300), auth.Allowed, policy.Applied},
		{"it comes back in", "/admin/" + long + "/../../api", auth.Allowed, policy.Applied},
		{"it leads out at its end", "/api/" + long + "/../../admin", auth.UntrustedEdge, policy.NotApplied},
		{"unclear at its end", "/api/" + long + "%2f", auth.UntrustedEdge, policy.NotApplied},
		{"too long", "/api/" + strings.Repeat("x", 1<<14), auth.UntrustedEdge, policy.NotApplied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := f.ask(t, f.operator(t), "application/json", `[{"caller":"api-gateway","target":"backend","method":"GET","path":"`+tc.path+`"}]`)
			decisions, _ := a.body["decisions"].([]any)
			one, _ := decisions[0].(map[string]any)
			id, _ := one["decision_id"].(string)
			later := f.get(t, "/internal/auth/decisions/"+id, f.operator(t))
			later.want(t, 200, "", tc.reason)
			if got := later.rules(t)["edges[0]"]; got != string(tc.outcome) || (later.text("fix") == "") != (tc.reason == auth.Allowed) {
				t.Errorf("%s, fix %q: %s", got, later.text("fix"), later.Body)
			}
		})
	}
}
