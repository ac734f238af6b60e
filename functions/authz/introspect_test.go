package authz

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

func (f *fixture) introspect(t *testing.T, bearer, body string) answer {
	t.Helper()
	return f.send(t, http.MethodPost, "/internal/auth/introspect", bearer, body)
}

// A token is shown to whom it was issued to, whom it is for, and operators. To everyone else, and when it is not
// good for whatever reason, it is inactive and no more is said.
func TestIntrospect(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	claims := f.Claims(gateway, backend, auth.APIRead|auth.APIWrite)
	claims.Thumbprint = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"
	raw := f.Mint(t, claims)
	owner := f.Token(t, gateway, auth.PlatformAudience, auth.APIRead)
	want := map[string]any{
		"active": true, "token_type": "Bearer", "iss": "isectech-platform", "sub": gateway, "client_id": gateway, "service_name": gateway,
		"service_id": claims.ServiceID, "environment": "production", "aud": backend, "jti": claims.ID, "scope": "api:read api:write",
		"scopes": []any{"api:read", "api:write"}, "cnf": map[string]any{"x5t#S256": claims.Thumbprint},
		"iat": float64(claims.IssuedAt.Unix()), "nbf": float64(claims.NotBefore.Unix()), "exp": float64(claims.ExpiresAt.Unix()),
	}
	inactive := map[string]any{"active": false}
	for name, tc := range map[string]struct {
		bearer, body string
		want         map[string]any
	}{
		"owner":                       {owner, "token=" + raw, want},
		"audience":                    {f.Token(t, backend, auth.PlatformAudience, auth.APIRead), "token=" + raw + "&token_type_hint=refresh_token", want},
		"operator":                    {f.operator(t), "token=" + raw, want},
		"another":                     {f.Token(t, frontend, auth.PlatformAudience, auth.APIRead), "token=" + raw, inactive},
		"another with a scope":        {f.Token(t, frontend, auth.PlatformAudience, auth.AllScopes), "token=" + raw, inactive},
		"no token":                    {owner, "token=no-token", inactive},
		"no token, for an operator":   {f.operator(t), "token=no-token", inactive},
		"changed, for an operator":    {f.operator(t), "token=" + raw + "x", inactive},
		"a token of an unknown owner": {f.operator(t), "token=" + f.Token(t, "isectech-nobody", backend, auth.APIRead), inactive},
	} {
		a := f.introspect(t, tc.bearer, tc.body)
		if diff := cmp.Diff(tc.want, a.body); a.Code != 200 || diff != "" || a.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v (-want +got):\n%s", name, a.Code, a.Header(), diff)
		}
	}
	f.introspect(t, "", "token="+raw).want(t, 401, "authentication_required", auth.NoCredentials)
	f.introspect(t, f.Token(t, gateway, backend, auth.APIRead), "token="+raw).want(t, 401, "authentication_failed", auth.WrongAudience)
	for _, body := range []string{"x=y", "token=", "token=" + raw + "&token=" + raw} {
		f.introspect(t, owner, body).want(t, 400, "invalid_request", "")
	}
	if a := f.introspect(t, owner, `{"token":"`+raw+`"}`); a.Code != 415 {
		t.Errorf("JSON: %d %s", a.Code, a.Body)
	}

	f.revoke(t, f.operator(t), "jti="+claims.ID).want(t, 200, "", "")
	for _, bearer := range []string{owner, f.operator(t)} {
		if a := f.introspect(t, bearer, "token="+raw); cmp.Diff(inactive, a.body) != "" {
			t.Errorf("revoked: %s", a.Body)
		}
	}
}

// What rests on an admin scope ends with the truth out of reach, what is one's own with it a little later.
func TestIntrospectWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	raw := f.Token(t, gateway, backend, auth.APIRead)
	owner := f.Token(t, gateway, auth.PlatformAudience, auth.APIRead)
	f.introspect(t, f.operator(t), "token="+raw).want(t, 200, "", "")
	f.store.Fail(storetest.CallGet, -1, store.ErrUnavailable)
	f.Clock.Advance(time.Minute)
	if a := f.introspect(t, f.operator(t), "token="+raw); a.body["active"] != false {
		t.Errorf("operator: %s", a.Body)
	}
	if a := f.introspect(t, owner, "token="+raw); a.body["active"] != true {
		t.Errorf("owner: %s", a.Body)
	}
	f.Clock.Advance(4 * time.Minute)
	f.introspect(t, owner, "token="+raw).want(t, 503, "unavailable", auth.PolicyUnavailable)
}
