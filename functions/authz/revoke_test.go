package authz

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// send makes a call with a token and a body, JSON unless it is a form.
func (f *fixture) send(t *testing.T, method, path, bearer, body string) answer {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		kind := "application/json"
		if !strings.HasPrefix(body, "{") {
			kind = "application/x-www-form-urlencoded"
		}
		r.Header.Set("Content-Type", kind)
	}
	return f.call(t, r)
}

func (f *fixture) revoke(t *testing.T, bearer, body string) answer {
	t.Helper()
	return f.send(t, http.MethodPost, "/internal/auth/revoke", bearer, body)
}

// other is another instance over the same store.
func (f *fixture) other() *fixture {
	o := *f
	o.Service = New(f.cfg, Deps{
		Store: f.store, Secrets: f.Secrets, Now: f.Clock.Now, Logger: f.Logger(), Metrics: telemetry.NewMetrics(),
		Assertions: f.deps.Assertions,
	})
	o.handler = o.Handler()
	return &o
}

const validate = "/internal/auth/validate"

// What is revoked on one instance is refused there at once, and on another a second later.
func TestRevokeKinds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body func(f *fixture, raw, jti string) string // what the operator sends
		want string                                   // the kind that is answered
		lost bool                                     // whether the token is lost
	}{
		"token, as a form": {func(_ *fixture, raw, _ string) string { return "token=" + raw + "&token_type_hint=access_token" }, "jti", true},
		"token, as JSON":   {func(_ *fixture, raw, _ string) string { return `{"token":"` + raw + `"}` }, "jti", true},
		"jti":              {func(_ *fixture, _, jti string) string { return "jti=" + jti + "&reason=leaked" }, "jti", true},
		"another jti":      {func(*fixture, string, string) string { return `{"jti":"AAAAAAAAAAAAAAAAAAAAAA"}` }, "jti", false},
		"service":          {func(*fixture, string, string) string { return `{"service_name":"api-gateway","reason":"leaked"}` }, "service_name", true},
		"another service":  {func(*fixture, string, string) string { return "service_name=" + frontend }, "service_name", false},
		"key":              {func(f *fixture, _, _ string) string { return "kid=" + f.Issuer.Signer.Public().ID }, "kid", true},
		"API key":          {func(*fixture, string, string) string { return `{"api_key_id":"k1","service_name":"api-gateway"}` }, "api_key_id", false},
		"serial":           {func(*fixture, string, string) string { return "serial=00:1F" }, "serial", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			other := f.other()
			claims := f.Claims(gateway, backend, auth.APIRead)
			raw, operator := f.Mint(t, claims), f.operator(t)
			f.get(t, validate, raw).want(t, 200, "", auth.Allowed)
			other.get(t, validate, raw).want(t, 200, "", auth.Allowed)

			done := f.revoke(t, operator, tc.body(f, raw, claims.ID))
			if done.Code != 200 || done.text("kind") != tc.want || done.text("actor") != "operator:"+platformtest.Operator || done.text("revoked_at") == "" {
				t.Fatalf("%d %s", done.Code, done.Body)
			}
			want, reason := 200, auth.Allowed
			if tc.lost {
				want, reason = 401, auth.Revoked
			}
			check := func(f *fixture) {
				t.Helper()
				a := f.get(t, validate, raw)
				if a.Code != want || a.text("reason") != string(reason) {
					t.Errorf("got %d %s, want %d %s", a.Code, a.text("reason"), want, reason)
				}
			}
			check(f)
			f.Clock.Advance(time.Second)
			check(other)

			if tc.want == "kid" { // the operator's token is lost with it, and can be had anew
				f.get(t, "/internal/auth/policy", operator).want(t, 401, "authentication_failed", auth.Revoked)
				form := url.Values{"grant_type": {grantJWTBearer}, "assertion": {f.idToken(t, nil)}}.Encode()
				f.form(t, "", form, nil).want(t, 200, "", "")
			}
			// Again changes nothing for the worse.
			if tc.want != "kid" {
				if again := f.revoke(t, operator, tc.body(f, raw, claims.ID)); again.Code != 200 {
					t.Errorf("again: %d %s", again.Code, again.Body)
				}
			}
			check(f)
		})
	}
}

// A revoked API key signs nothing any more, and gets no token; the next version does.
func TestRevokedAPIKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := f.Bootstrap().AddAPIKey(t.Context(), auth.MustSubject(gateway)); err != nil {
		t.Logf("second key: %v", err)
	}
	f.form(t, gateway, "grant_type=client_credentials", nil).want(t, 200, "", "")
	f.revoke(t, f.operator(t), `{"api_key_id":"k1","service_name":"isectech-api-gateway"}`).want(t, 200, "", "")
	f.form(t, gateway, "grant_type=client_credentials", nil).want(t, 401, "invalid_client", auth.Revoked)
	f.form(t, frontend, "grant_type=client_credentials", nil).want(t, 200, "", "")
	r := httptest.NewRequest(http.MethodGet, validate, nil)
	if err := f.APIKey(t, gateway).SignHTTP(r, nil); err != nil {
		t.Fatal(err)
	}
	f.call(t, r).want(t, 401, "authentication_failed", auth.Revoked)
	// Together with a token that is good, it spoils that one.
	r = httptest.NewRequest(http.MethodGet, validate, nil)
	if err := f.APIKey(t, gateway).SignHTTP(r, nil); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.Token(t, gateway, backend, auth.APIRead))
	f.call(t, r).want(t, 401, "authentication_failed", auth.Revoked)
}

// Tokens issued after everything of a service was revoked are good, in the same second too.
func TestIssuedAfterRevocation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	issue := func() string {
		t.Helper()
		a := f.form(t, gateway, "grant_type=client_credentials&audience=backend", nil)
		a.want(t, 200, "", "")
		return a.text("access_token")
	}
	var old []string
	for range 3 { // all within one second
		fresh := issue()
		f.get(t, validate, fresh).want(t, 200, "", auth.Allowed)
		old = append(old, fresh)
		f.revoke(t, f.operator(t), "service_name="+gateway).want(t, 200, "", "")
		for _, raw := range old {
			f.get(t, validate, raw).want(t, 401, "authentication_failed", auth.Revoked)
		}
	}
	f.get(t, validate, issue()).want(t, 200, "", auth.Allowed)
	for range 10 {
		if a := f.revoke(t, f.operator(t), "service_name="+gateway); a.Code == 503 {
			if a.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			f.Clock.Advance(20 * time.Second)
			f.get(t, validate, issue()).want(t, 200, "", auth.Allowed)
			return
		}
	}
	t.Error("the moment up to which tokens are revoked runs away from the clock")
}

// Owners take back their own tokens and nothing else.
func TestRevokeByOwner(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mine, bearer := f.Token(t, gateway, backend, auth.APIRead), f.Token(t, gateway, auth.PlatformAudience, auth.ServiceDiscover)
	theirs := f.Token(t, frontend, gateway, auth.APIRead)
	expired := f.Claims(gateway, backend, auth.APIRead)
	expired.IssuedAt, expired.NotBefore, expired.ExpiresAt = expired.IssuedAt.Add(-time.Hour), expired.NotBefore.Add(-time.Hour), expired.ExpiresAt.Add(-time.Hour)
	for name, tc := range map[string]struct {
		bearer, body string
		status       int
		code         string
	}{
		"nobody":              {"", "token=" + mine, 401, "authentication_required"},
		"another's":           {bearer, "token=" + theirs, 403, "not_owner"},
		"the audience's":      {f.Token(t, gateway, auth.PlatformAudience, auth.APIRead), "token=" + theirs, 403, "not_owner"},
		"unknown":             {bearer, "token=unknown", 200, ""},
		"expired":             {bearer, "token=" + f.Mint(t, expired), 200, ""},
		"jti":                 {bearer, "jti=AAAA", 403, "insufficient_scope"},
		"service":             {bearer, "service_name=" + gateway, 403, "insufficient_scope"},
		"kid":                 {bearer, "kid=" + f.Issuer.Signer.Public().ID, 403, "insufficient_scope"},
		"API key":             {bearer, "api_key_id=k1&service_name=" + gateway, 403, "insufficient_scope"},
		"serial":              {bearer, "serial=1f", 403, "insufficient_scope"},
		"for another service": {mine, "token=" + mine, 401, "authentication_failed"},
	} {
		if a := f.revoke(t, tc.bearer, tc.body); a.Code != tc.status || a.text("error") != tc.code {
			t.Errorf("%s: %d %s", name, a.Code, a.Body)
		}
	}
	f.get(t, validate, theirs).want(t, 200, "", auth.Allowed)
	f.get(t, validate, mine).want(t, 200, "", auth.Allowed)
	for range 2 {
		a := f.revoke(t, bearer, "token="+mine)
		a.want(t, 200, "", "")
		if a.Header().Get("Cache-Control") != "no-store" {
			t.Error("may be cached")
		}
		f.get(t, validate, mine).want(t, 401, "authentication_failed", auth.Revoked)
	}
	if entries, err := store.Entries(t.Context(), f.store, trust.RevocationRef(trust.Revocation{Kind: trust.RevokedToken, Value: jtiOf(t, f, mine)}).String(), 0, 10); err != nil || len(entries) != 1 || entries[0].Actor != gateway {
		t.Errorf("journal %+v, %v", entries, err)
	}
	f.revoke(t, bearer, "token="+bearer).want(t, 200, "", "")
	f.revoke(t, bearer, "token="+mine).want(t, 401, "authentication_failed", auth.Revoked)
}

func jtiOf(t *testing.T, f *fixture, raw string) string {
	t.Helper()
	claims, err := f.guard.Tokens.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return claims.ID
}

func TestRevokeBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	operator := f.operator(t)
	for _, tc := range []struct {
		body   string
		status int
		field  string
	}{
		{"{}", 400, ""},
		{"reason=x", 400, ""},
		{"jti=a&serial=1", 400, ""},
		{"jti=a&jti=b", 400, "jti"},
		{"jti=a&service_name=backend", 400, ""},
		{"kid=a&api_key_id=k1&service_name=backend", 400, ""},
		{"api_key_id=k1", 400, "service_name"},
		{"api_key_id=1&service_name=backend", 400, "api_key_id"},
		{"api_key_id=k99&service_name=backend", 404, ""},
		{"api_key_id=k1&service_name=nobody", 404, ""},
		{"service_name=nobody", 404, ""},
		{"service_name=" + url.QueryEscape("../x"), 400, "service_name"},
		{"service_name=isectech-services", 404, ""},
		{"kid=unknown", 404, ""},
		{"kid=" + url.QueryEscape("../policies/current"), 404, ""},
		{"kid=" + strings.Repeat("k", 9000), 404, ""},
		{"serial=xyz", 400, "serial"},
		{"serial=0", 400, "serial"},
		{"jti=" + strings.Repeat("a", 129), 400, "jti"},
		{"jti=%C3%BC", 400, "jti"},
		{"jti=a&reason=" + strings.Repeat("a", 513), 400, "reason"},
		{"jti=a&reason=%00", 400, "reason"},
		{"jti=a&reason=%FF", 400, "reason"},
		{`{"jti":"a","unknown":1}`, 400, "unknown"},
		{`{"jti":1}`, 400, "jti"},
		{`{"jti":"a","jti":"b"}`, 400, "jti"},
	} {
		a := f.revoke(t, operator, tc.body)
		if a.Code != tc.status || tc.field != "" && !strings.Contains(a.Body.String(), `"field":"`+tc.field+`"`) {
			t.Errorf("%.60s: %d %s", tc.body, a.Code, a.Body)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/internal/auth/revoke", strings.NewReader("jti=a"))
	r.Header.Set("Authorization", "Bearer "+operator)
	r.Header.Set("Content-Type", "text/plain")
	if a := f.call(t, r); a.Code != 415 {
		t.Errorf("text/plain: %d", a.Code)
	}
	f.revoke(t, operator, "service_name="+url.QueryEscape("operator:"+platformtest.Operator)).want(t, 200, "", "")
	f.get(t, "/internal/auth/policy", operator).want(t, 401, "authentication_failed", auth.Revoked)
}

// Beyond the bound a revocation is refused and none is forgotten.
func TestTooManyRevoked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var writes []store.Write
	flush := func() {
		t.Helper()
		if _, err := f.Platform.Store.Commit(t.Context(), store.Batch{Writes: writes, Actor: "test", Cause: "test"}); err != nil {
			t.Fatal(err)
		}
		writes = writes[:0]
	}
	many := 3
	for i := range many {
		r := trust.Revocation{Kind: trust.RevokedToken, Value: fmt.Sprint(i)}
		writes = append(writes, store.Write{Ref: trust.RevocationRef(r), Data: r, ExpiresAt: f.Clock.Now().Add(time.Hour)})
	}
	flush()
	f.Clock.Advance(time.Second)
	f.bounds = revocationBounds{own: many, all: many + 1}
	mine := f.Token(t, gateway, backend, auth.APIRead)
	refused := f.revoke(t, f.Token(t, gateway, auth.PlatformAudience, auth.APIRead), "token="+mine)
	refused.want(t, 503, "unavailable", "")
	if refused.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.revoke(t, f.operator(t), "token="+mine).want(t, 200, "", "")
	f.revoke(t, f.operator(t), "jti=x").want(t, 503, "unavailable", "")
	f.revoke(t, f.operator(t), "service_name="+gateway).want(t, 200, "", "")
	f.get(t, validate, mine).want(t, 401, "authentication_failed", auth.Revoked)
}

// Without the truth in reach reads go on for a minute by what was revoked last, and writes do too.
func TestRevocationsOutOfReach(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good, bad := f.Token(t, gateway, backend, auth.APIRead), f.Token(t, gateway, backend, auth.APIRead)
	f.revoke(t, f.operator(t), "token="+bad).want(t, 200, "", "")
	f.get(t, validate, good).want(t, 200, "", auth.Allowed)
	f.store.Fail(storetest.CallChanges, -1, store.ErrUnavailable)
	f.Clock.Advance(59 * time.Second)
	f.get(t, validate, good).want(t, 200, "", auth.Allowed)
	f.get(t, validate, bad).want(t, 401, "authentication_failed", auth.Revoked)
	f.Clock.Advance(time.Second)
	f.get(t, validate, good).want(t, 503, "unavailable", auth.PolicyUnavailable)
	f.revoke(t, f.operator(t), "jti=x").want(t, 503, "unavailable", auth.PolicyUnavailable)
	f.store.Fail(storetest.CallChanges, 0, nil)
	f.Clock.Advance(time.Second)
	f.get(t, validate, good).want(t, 200, "", auth.Allowed)
	f.get(t, validate, bad).want(t, 401, "authentication_failed", auth.Revoked)
}
