package authz

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const pathRotate = "/internal/auth/keys/rotate"

// exchanged is a token of the operator from the token endpoint, signed with whatever key signs now.
func (f *fixture) exchanged(t *testing.T) string {
	t.Helper()
	a := f.form(t, "", "grant_type="+url.QueryEscape(grantJWTBearer)+"&assertion="+f.idToken(t, nil), nil)
	if a.Code != http.StatusOK {
		t.Fatalf("token endpoint: %s", a.Body)
	}
	return a.text("access_token")
}

func (f *fixture) rotate(t *testing.T, bearer, kind, body string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, pathRotate, strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return f.call(t, r)
}

// states maps the keys of an answer to their states.
func states(t *testing.T, a answer) map[string]string {
	t.Helper()
	if a.Code != http.StatusOK {
		t.Fatalf("status %d: %s", a.Code, a.Body)
	}
	var view rotationView
	if err := json.Unmarshal(a.Body.Bytes(), &view); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string, len(view.Keys))
	for _, k := range view.Keys {
		found[k.KeyID] = k.State
	}
	return found
}

// steps lists what an answer says was done, and the step that is due next with the time until then.
func steps(t *testing.T, f *fixture, a answer) (done []string, next string) {
	t.Helper()
	var view rotationView
	if err := json.Unmarshal(a.Body.Bytes(), &view); err != nil {
		t.Fatal(err)
	}
	for _, s := range view.Done {
		done = append(done, s.Step)
	}
	if view.Next != nil {
		next = view.Next.Step + " in " + view.Next.DueAt.Sub(f.Clock.Now()).Round(time.Second).String()
	}
	return done, next
}

// headerOf returns alg and kid of a token.
func headerOf(t *testing.T, raw string) (algorithm, kid string) {
	t.Helper()
	head, _, _ := strings.Cut(raw, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ Alg, Kid string }
	if err := json.Unmarshal(decoded, &h); err != nil {
		t.Fatal(err)
	}
	return h.Alg, h.Kid
}

// published lists the ids in the key set.
func (f *fixture) published(t *testing.T) map[string]bool {
	t.Helper()
	a := f.call(t, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	set, err := token.ParseJWKS(a.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	kids := map[string]bool{}
	for _, k := range set.Keys() {
		kids[k.ID] = true
	}
	return kids
}

func TestRotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	policy := signingkeys.DefaultPolicy()
	old := f.Issuer.Signer.Public().ID
	want := func(a answer, wantNext string, wantDone ...string) {
		t.Helper()
		done, next := steps(t, f, a)
		if !cmp.Equal(done, wantDone) || next != wantNext {
			t.Errorf("done %v, next %q; want %v, %q: %s", done, next, wantDone, wantNext, a.Body)
		}
	}

	listed := f.get(t, "/internal/auth/keys", f.exchanged(t))
	if diff := cmp.Diff(map[string]string{old: trust.KeyCurrent}, states(t, listed)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	want(listed, "create in 719h45m0s")
	explained := f.get(t, "/internal/auth/validate", f.exchanged(t)).text("decision_id")

	// A new key is published, and does not sign yet, however often it is asked for.
	begun := f.rotate(t, f.exchanged(t), "application/json", `{"algorithm":"EdDSA"}`)
	want(begun, "promote in "+policy.PublishBefore.String(), signingkeys.Create)
	var young string
	for kid, state := range states(t, begun) {
		if state == trust.KeyNext {
			young = kid
		}
	}
	want(f.rotate(t, f.exchanged(t), "", ""), "promote in "+policy.PublishBefore.String())
	f.Clock.Advance(policy.PublishBefore - time.Second)
	if _, kid := headerOf(t, f.exchanged(t)); kid != old || !f.published(t)[young] {
		t.Errorf("a key signs that is not published long enough, or is not published")
	}
	want(f.rotate(t, f.exchanged(t), "", ""), "promote in 1s")

	// It signs, and what the old one signed is good for as long as it lives. The store's clock is a little ahead.
	f.Clock.Advance(2 * time.Second)
	before := f.exchanged(t)
	want(f.rotate(t, before, "application/json", "{}"), "retire in "+policy.RetireAfter.String(), signingkeys.Promote)
	alg, kid := headerOf(t, f.exchanged(t))
	if alg != token.EdDSA || kid != young {
		t.Errorf("tokens are signed with %s by %s, want %s", alg, kid, young)
	}
	f.get(t, "/internal/auth/validate", before).want(t, 200, "", auth.Allowed)
	if kids := f.published(t); !kids[old] || !kids[young] {
		t.Errorf("published: %v", kids)
	}

	// Long after, it verifies no more, and still explains what was decided.
	f.Clock.Advance(policy.RetireAfter + time.Second)
	if _, err := f.rotation.Rotate(t.Context(), signingkeys.Request{Actor: "test", Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	f.Clock.Advance(time.Second)
	forged := f.Token(t, gateway, auth.PlatformAudience, auth.ServiceDiscover) // by the old key
	f.get(t, "/internal/auth/validate", forged).want(t, 401, "authentication_failed", auth.UnknownKey)
	if kids := f.published(t); kids[old] || !kids[young] {
		t.Errorf("published: %v", kids)
	}
	f.get(t, "/internal/auth/decisions/"+explained, f.exchanged(t)).want(t, 200, "", auth.Allowed)
	if text := f.Logs.String() + begun.Body.String() + listed.Body.String(); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, `"d":`) {
		t.Error("a private key was told")
	}
}

func TestRotateAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.rotate(t, f.exchanged(t), "application/json", `{"algorithm":"`+alg+`"}`).want(t, 200, "", "")
			f.Clock.Advance(signingkeys.DefaultPolicy().PublishBefore + time.Second)
			f.rotate(t, f.exchanged(t), "", "").want(t, 200, "", "")
			raw := f.exchanged(t)
			if got, _ := headerOf(t, raw); got != alg {
				t.Errorf("tokens are signed with %s", got)
			}
			f.get(t, "/internal/auth/validate", raw).want(t, 200, "", auth.Allowed)
		})
	}
}

func TestRotateRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	reader := f.Token(t, "operator:ops@isectech.com", auth.PlatformAudience, auth.AdminRead)
	service := f.Token(t, gateway, auth.PlatformAudience, auth.AllScopes)
	const kind = "application/json"
	for _, tc := range []struct {
		name               string
		bearer, kind, body string
		status             int
		code               string
		reason             auth.Reason
	}{
		{"nobody", "", "", "", 401, "authentication_required", auth.NoCredentials},
		{"a service", service, kind, "{}", 403, "insufficient_scope", auth.InsufficientScope},
		{"who may read", reader, kind, "{}", 403, "insufficient_scope", auth.InsufficientScope},
		{"another audience", f.Token(t, gateway, backend, auth.AllScopes), kind, "{}", 401, "authentication_failed", auth.WrongAudience},
		{"a symmetric algorithm", f.operator(t), kind, `{"algorithm":"HS256"}`, 400, "invalid_request", ""},
		{"none", f.operator(t), kind, `{"algorithm":"none"}`, 400, "invalid_request", ""},
		{"in lower case", f.operator(t), kind, `{"algorithm":"es256"}`, 400, "invalid_request", ""},
		{"no text", f.operator(t), kind, `{"algorithm":1}`, 400, "invalid_request", ""},
		{"an unknown member", f.operator(t), kind, `{"kid":"x"}`, 400, "invalid_request", ""},
		{"no JSON", f.operator(t), kind, `x`, 400, "invalid_request", ""},
		{"a form", f.operator(t), "application/x-www-form-urlencoded", "algorithm=ES256", 415, "unsupported_media_type", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f.rotate(t, tc.bearer, tc.kind, tc.body).want(t, tc.status, tc.code, tc.reason)
		})
	}
	f.get(t, "/internal/auth/keys", service).want(t, 403, "insufficient_scope", auth.InsufficientScope)
	f.get(t, "/internal/auth/keys", reader).want(t, 200, "", "")
	f.get(t, pathRotate, f.operator(t)).want(t, 405, "method_not_allowed", "")
	f.store.Fail(storetest.CallCommit, -1, store.ErrUnavailable)
	f.rotate(t, f.operator(t), "", "").want(t, 503, "unavailable", "")
}

// The tokens of a key that has leaked are refused from the answer on, and others are issued without a pause.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	leaked := f.Issuer.Signer.Public().ID
	stolen := f.Token(t, gateway, backend, auth.APIRead)
	f.get(t, "/internal/auth/validate", stolen, "X-Target-Service", backend).want(t, 200, "", auth.Allowed)
	operator := f.exchanged(t)
	r := httptest.NewRequest(http.MethodPost, "/internal/auth/revoke", strings.NewReader(`{"kid":"`+leaked+`","reason":"it was in a log"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+operator)
	if a := f.call(t, r); a.Code != http.StatusOK {
		t.Fatalf("revoke: %d %s", a.Code, a.Body)
	}
	f.get(t, "/internal/auth/validate", stolen, "X-Target-Service", backend).want(t, 401, "authentication_failed", auth.Revoked)
	f.get(t, "/internal/auth/keys", operator).want(t, 401, "authentication_failed", auth.Revoked)
	fresh := f.exchanged(t)
	if _, kid := headerOf(t, fresh); kid == leaked || f.published(t)[leaked] || !f.published(t)[kid] {
		t.Errorf("the leaked key signs or is published")
	}
	got := states(t, f.get(t, "/internal/auth/keys", fresh))
	if got[leaked] != trust.KeyRevoked || len(got) != 2 {
		t.Errorf("keys %v", got)
	}
}
