package authz

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const policyPath = "/internal/auth/policy"

// put puts a policy with a token.
func (f *fixture) put(t *testing.T, bearer, body string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodPut, policyPath, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return f.call(t, r)
}

// document returns the policy in force, changed.
func (f *fixture) document(t *testing.T, change func(*policy.Document)) string {
	t.Helper()
	doc, _, err := policy.Parse(f.get(t, policyPath, f.operator(t)).Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	change(doc)
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// openBackend lets the front end call the backend services.
func openBackend(doc *policy.Document) {
	doc.Edges = append(doc.Edges, policy.Edge{Caller: frontend, Target: backend})
}

func (f *fixture) generation(t *testing.T) int64 {
	t.Helper()
	doc, err := f.Platform.Store.Get(t.Context(), trust.PolicyRef)
	if err != nil {
		t.Fatal(err)
	}
	return doc.Generation
}

// A new policy is one commit: in force within a second, kept under its version, journaled with its author.
func TestReplacePolicy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	before := f.get(t, policyPath, f.operator(t))
	if before.Header().Get("ETag") != `"1"` || before.Header().Get("X-Policy-Version") != "1" {
		t.Fatalf("headers %v", before.Header())
	}
	call := func() answer {
		return f.get(t, "/internal/auth/validate", f.Token(t, frontend, backend, auth.APIRead), "X-Target-Service", "backend")
	}
	refusal := call()
	refusal.want(t, 403, "untrusted_edge", auth.UntrustedEdge)

	a := f.put(t, f.operator(t), f.document(t, openBackend), "If-Match", `"1"`)
	a.want(t, 200, "", "")
	if a.body["version"] != 2.0 || a.body["changed"] != true || a.Header().Get("ETag") != `"2"` || a.Header().Get("X-Policy-Version") != "2" {
		t.Errorf("%s, headers %v", a.Body, a.Header())
	}
	f.Clock.Advance(time.Second)
	allowed := call()
	allowed.want(t, 200, "", auth.Allowed)
	if allowed.body["policy_version"] != 2.0 {
		t.Errorf("decided by version %v", allowed.body["policy_version"])
	}

	// The old version still explains what it decided.
	explained := f.get(t, "/internal/auth/decisions/"+refusal.text("decision_id"), f.operator(t))
	if explained.Code != 200 || explained.body["policy_version"] != 1.0 || explained.text("reason") != string(auth.UntrustedEdge) {
		t.Errorf("%d %s", explained.Code, explained.Body)
	}
	for version, want := range map[string]string{"1": before.Body.String(), "2": f.get(t, policyPath, f.operator(t)).Body.String()} {
		old := f.get(t, policyPath+"?version="+version, f.operator(t))
		if old.Body.String() != want || old.Header().Get("ETag") != `"`+version+`"` || old.Header().Get("X-Policy-Version") != version {
			t.Errorf("version %s: %d %s %v", version, old.Code, old.Body, old.Header())
		}
	}
	f.get(t, policyPath+"?version=3", f.operator(t)).want(t, 404, "not_found", "")
	for _, query := range []string{"?version=0", "?version=x", "?version=1&version=2", "?v=1"} {
		f.get(t, policyPath+query, f.operator(t)).want(t, 400, "invalid_request", "")
	}
	entries, err := store.Entries(t.Context(), f.Platform.Store, trust.PolicyRef.String(), 1, 10)
	if err != nil || len(entries) != 1 || entries[0].Actor != "operator:"+platformtest.Operator || entries[0].Cause == "" {
		t.Errorf("journal %+v: %v", entries, err)
	}
}

func TestReplacePolicyRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(t, func(doc *policy.Document) { // another administrator, and one who may read alone
		doc.Operators["second@isectech.com"] = policy.Operator{Scopes: []string{"admin:write"}}
		doc.Operators["reader@isectech.com"] = policy.Operator{Scopes: []string{"admin:read"}}
	})
	version := f.generation(t)
	operator := f.operator(t)
	good := f.document(t, openBackend)
	tests := []struct {
		name, bearer, body string
		header             []string
		status             int
		code               string
		part               string
	}{
		{name: "a service", bearer: f.Token(t, gateway, auth.PlatformAudience, auth.AllScopes), status: 403, code: "insufficient_scope", part: `"required":["admin:write"]`},
		{name: "a reader", bearer: f.Token(t, "operator:reader@isectech.com", auth.PlatformAudience, auth.AllScopes), status: 403, code: "insufficient_scope"},
		{name: "a token without the scope", bearer: f.Token(t, "operator:"+platformtest.Operator, auth.PlatformAudience, auth.AdminRead), status: 403, code: "insufficient_scope"},
		{name: "text", header: []string{"Content-Type", "text/plain"}, status: 415, code: "unsupported_media_type"},
		{name: "compressed", header: []string{"Content-Encoding", "gzip"}, status: 415, code: "unsupported_media_type"},
		{name: "too large", body: good + strings.Repeat(" ", policy.MaxDocumentBytes), status: 413, code: "too_large"},
		{name: "larger as it is written", body: f.document(t, func(doc *policy.Document) {
			for i := range 3000 {
				doc.Services["s"+strings.Repeat("x", 40)+string(rune('a'+i/676))+string(rune('a'+i/26%26))+string(rune('a'+i%26))] =
					policy.ServiceEntry{Environments: []string{"production"}, Description: strings.Repeat("<", 250)}
			}
		}), status: 413, code: "too_large"},
		{name: "no JSON", body: `{"services":`, status: 400, code: "invalid_request", part: "malformed_json"},
		{name: "empty", body: " ", status: 400, code: "invalid_request", part: "malformed_json"},
		{name: "unknown field", body: strings.Replace(good, `"edges"`, `"Edges"`, 1), status: 400, code: "invalid_request", part: `"field":"Edges","code":"unknown_field"`},
		{name: "unknown service", body: strings.Replace(good, `"caller":"isectech-monitoring"`, `"caller":"isectech-monitor"`, 1), status: 400, code: "invalid_request", part: `"field":"edges[3].caller","code":"unknown_service"`},
		{name: "a service with an admin scope", body: f.document(t, func(doc *policy.Document) {
			entry := doc.Services[gateway]
			entry.Scopes = append(entry.Scopes, "admin:write")
			doc.Services[gateway] = entry
		}), status: 400, code: "invalid_request", part: "admin_scope"},
		{name: "another version", header: []string{"If-Match", `"1"`}, status: 412, code: "precondition_failed", part: `"generation":2`},
		{name: "a weak tag", header: []string{"If-Match", `W/"2"`}, status: 412, code: "precondition_failed"},
		{name: "no tag", header: []string{"If-Match", `2`}, status: 400, code: "invalid_request", part: "If-Match"},
		{name: "without administrators", body: f.document(t, func(doc *policy.Document) { doc.Operators = nil }), status: 422, code: "unprocessable", part: "operators"},
		{name: "without oneself", body: f.document(t, func(doc *policy.Document) { delete(doc.Operators, platformtest.Operator) }), status: 422, code: "unprocessable", part: platformtest.Operator},
		{name: "without one's own scope", body: f.document(t, func(doc *policy.Document) {
			doc.Operators[platformtest.Operator] = policy.Operator{Scopes: []string{"admin:read"}}
		}), status: 422, code: "unprocessable", part: platformtest.Operator},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bearer, body := tt.bearer, tt.body
			if bearer == "" {
				bearer = operator
			}
			if body == "" {
				body = good
			}
			a := f.put(t, bearer, body, tt.header...)
			if a.Code != tt.status || a.text("error") != tt.code || !strings.Contains(a.Body.String(), tt.part) {
				t.Errorf("%d %.500s, want %d %s with %s", a.Code, a.Body, tt.status, tt.code, tt.part)
			}
			if got := f.generation(t); got != version {
				t.Errorf("version %d was written", got)
			}
		})
	}
}

// What says the same in other words is not written again; a warning is told and keeps nothing back.
func TestReplacePolicyUnchanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	same := strings.Replace(f.document(t, func(doc *policy.Document) {
		slices.Reverse(doc.Edges[0].Targets)
		doc.Edges[0].Effect = policy.Allow
	}), `{`, "{\n ", 1)
	a := f.put(t, f.operator(t), same, "If-Match", "*")
	if a.Code != 200 || a.body["changed"] != false || a.body["version"] != 1.0 || a.Header().Get("ETag") != `"1"` || f.generation(t) != 1 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	f.put(t, f.operator(t), same, "If-Match", `"7"`).want(t, 412, "precondition_failed", "")
	f.put(t, f.operator(t), same, "If-Match", `7`).want(t, 400, "invalid_request", "")
	a = f.put(t, f.operator(t), f.document(t, func(doc *policy.Document) {
		doc.Services["isectech-new"] = policy.ServiceEntry{Environments: []string{"production"}, Scopes: []string{"api:read"}}
	}))
	if a.Code != 200 || a.body["changed"] != true || !strings.Contains(a.Body.String(), `"code":"isolated_service"`) || f.generation(t) != 2 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}

// A policy of more values than the store takes in a document can be put, told and put again.
func TestReplacePolicyWithALargeOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	large := f.document(t, func(doc *policy.Document) {
		for i := range 4_000 {
			name := fmt.Sprintf("s%d", i)
			doc.Services[name] = policy.ServiceEntry{Environments: []string{"production"}}
			doc.Edges = append(doc.Edges, policy.Edge{Caller: gateway, Target: name})
		}
	})
	a := f.put(t, f.operator(t), large, "If-Match", `"1"`)
	if a.Code != 200 || a.body["version"] != 2.0 {
		t.Fatalf("%d %.500s", a.Code, a.Body)
	}
	if again := f.put(t, f.operator(t), large, "If-Match", `"2"`); again.Code != 200 || again.body["changed"] != false {
		t.Errorf("%d %.500s", again.Code, again.Body)
	}
	if got := f.document(t, func(*policy.Document) {}); got != large {
		t.Errorf("got %.500s", got)
	}
	f.get(t, "/internal/auth/validate", f.Token(t, gateway, "s3999", auth.APIRead), "X-Target-Service", "s3999").want(t, 200, "", auth.Allowed)
}

// racing is a store in which somebody else writes the policy before a commit.
type racing struct {
	store.Store
	before func()
}

func (r *racing) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	return r.Store.Commit(ctx, b)
}

func TestReplacePolicyRace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		header []string
		status int
		code   string
	}{
		{"with If-Match", []string{"If-Match", `"1"`}, 412, "precondition_failed"},
		{"without", nil, 409, "conflict"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			mine := f.document(t, openBackend)
			f.deps.Store = &racing{Store: f.deps.Store, before: func() {
				f.edit(t, func(doc *policy.Document) { doc.Edges = doc.Edges[1:] })
			}}
			a := f.put(t, f.operator(t), mine, tt.header...)
			a.want(t, tt.status, tt.code, "")
			if a.body["generation"] != 2.0 || f.generation(t) != 2 {
				t.Errorf("%s, version %d", a.Body, f.generation(t))
			}
		})
	}
}

// With the store out of reach nothing is written, and nothing is said to be.
func TestReplacePolicyWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := f.document(t, openBackend)
	f.store.Fail(storetest.CallCommit, 1, store.ErrUnavailable)
	f.put(t, f.operator(t), body, "If-Match", `"1"`).want(t, 503, "unavailable", "")
	if got := f.generation(t); got != 1 {
		t.Errorf("version %d was written", got)
	}

	// A write whose answer was lost has happened once, and the second attempt says so.
	f.store.LoseAnswer(1, store.ErrUnavailable)
	f.put(t, f.operator(t), body, "If-Match", `"1"`).want(t, 503, "unavailable", "")
	a := f.put(t, f.operator(t), body, "If-Match", `"1"`)
	if a.Code != 200 || a.body["version"] != 2.0 || a.body["changed"] != false || f.generation(t) != 2 {
		t.Errorf("%d %s, version %d", a.Code, a.Body, f.generation(t))
	}
}
