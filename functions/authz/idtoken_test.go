package authz

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const account = "gateway@isectech.iam.gserviceaccount.com"

// newGoogle is the function as it is deployed, with an issuer on this machine in Google's place.
func newGoogle(t *testing.T) (f *fixture, serve func(http.HandlerFunc)) {
	t.Helper()
	var handler atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load())(w, r) }))
	t.Cleanup(server.Close)
	p := platformtest.New(t)
	f = &fixture{Platform: p, store: storetest.NewFaulty(p.Store), idp: authtest.NewAuthority(t, token.RS256)}
	var cfg Config
	env := map[string]string{"TRUSTED_PROXY_MARKER": marker, "ID_TOKEN_JWKS_URL": server.URL}
	if err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, &cfg); err != nil {
		t.Fatal(err)
	}
	assertions, err := idTokens(cfg, p.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	f.Service = New(cfg, Deps{
		Store: f.store, Secrets: p.Secrets, Now: p.Clock.Now, Logger: p.Logger(), Metrics: telemetry.NewMetrics(), Assertions: assertions,
	})
	f.handler = f.Handler()
	f.edit(t, func(d *policy.Document) {
		d.ServiceAccounts = map[string]policy.Account{account: {Service: gateway, Environment: "production"}}
	})
	serve = func(h http.HandlerFunc) { handler.Store(&h) }
	serve(publish(t, f.idp))
	return f, serve
}

func publish(t *testing.T, of ...*authtest.Authority) http.HandlerFunc {
	t.Helper()
	body, err := json.Marshal(of[0].Keys(t, of[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=19800")
		_, _ = w.Write(body)
	}
}

func (f *fixture) exchange(t *testing.T, form string, edit ...string) answer {
	t.Helper()
	return f.form(t, "", "grant_type="+url.QueryEscape(grantJWTBearer)+"&assertion="+f.idToken(t, edit)+form, nil)
}

// A service account is one service in one environment; it gets what that service may get there.
func TestServiceAccount(t *testing.T) {
	t.Parallel()
	f, _ := newGoogle(t)
	mail := []string{"email", `"` + account + `"`}
	for _, iss := range []string{"https://accounts.google.com", "accounts.google.com"} {
		a := f.exchange(t, "&audience="+backend+"&scope=api:read+admin:write", append(mail, "iss", `"`+iss+`"`)...)
		if a.Code != http.StatusOK || a.text("scope") != "api:read" || a.text("audience") != backend {
			t.Fatalf("%s: %d %s", iss, a.Code, a.Body)
		}
		v := f.get(t, "/internal/auth/validate", a.text("access_token"), "X-Target-Service", backend, "X-Required-Scopes", "api:read")
		v.want(t, 200, "", auth.Allowed)
		if v.text("service_name") != gateway || v.text("environment") != "production" {
			t.Errorf("validated as %s", v.Body)
		}
	}
	f.exchange(t, "&audience=isectech-frontend&scope=metrics:read", mail...).want(t, 400, "invalid_scope", auth.InsufficientScope)
	f.exchange(t, "&audience=isectech-nobody", mail...).want(t, 400, "invalid_target", auth.UnknownService)
	f.exchange(t, "", "email", `"gateway@other.iam.gserviceaccount.com"`).want(t, 400, "invalid_grant", auth.UnknownService)
	f.exchange(t, "", "email", `"`+strings.ToUpper(account)+`"`).want(t, 400, "invalid_grant", auth.UnknownService)
	f.exchange(t, "", append(mail, "email_verified", "false")...).want(t, 400, "invalid_grant", auth.IdentityMismatch)
	f.exchange(t, "", append(mail, "iss", `"http://accounts.google.com"`)...).want(t, 400, "invalid_grant", auth.WrongIssuer)
	f.exchange(t, "", append(mail, "aud", `"isectech-services"`)...).want(t, 400, "invalid_grant", auth.WrongAudience)
}

// Operators speak to the platform alone, for a quarter of an hour at most.
func TestOperatorOfGoogle(t *testing.T) {
	t.Parallel()
	f, _ := newGoogle(t)
	a := f.exchange(t, "")
	if a.Code != http.StatusOK || a.text("audience") != auth.PlatformAudience || a.body["expires_in"].(float64) > 900 {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	claims, err := f.guard.Tokens.Verify(t.Context(), a.text("access_token"))
	if err != nil || claims.Subject.String() != "operator:"+platformtest.Operator {
		t.Errorf("%v %v", claims.Subject, err)
	}
	f.exchange(t, "&audience="+backend).want(t, 400, "invalid_target", auth.UntrustedEdge)
	f.get(t, "/internal/auth/policy", a.text("access_token")).want(t, 200, "", "")
}

// Google's keys change, and Google may be away: what is known is used, and what is not is nobody's fault.
func TestKeysOfGoogle(t *testing.T) {
	t.Parallel()
	f, serve := newGoogle(t)
	f.exchange(t, "").want(t, 200, "", "")
	old, young := f.idp, authtest.NewAuthority(t, token.RS256)
	f.idp = young
	f.exchange(t, "").want(t, 400, "invalid_grant", auth.UnknownKey)
	serve(publish(t, old, young))
	f.Clock.Advance(30 * time.Second)
	f.exchange(t, "").want(t, 200, "", "")

	serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	f.Clock.Advance(6 * time.Hour)
	f.exchange(t, "").want(t, 200, "", "") // as it was known
	f.idp = authtest.NewAuthority(t, token.RS256)
	f.exchange(t, "").want(t, 503, "unavailable", "")
	f.idp = young
	f.Clock.Advance(6 * time.Hour)
	a := f.exchange(t, "")
	a.want(t, 503, "unavailable", "")
	if a.Header().Get("Retry-After") == "" || a.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.Header())
	}
}

func TestKeysOfGoogleAreNotFetchedInTheClear(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"http://www.googleapis.com/oauth2/v3/certs", "certs", "ftp://127.0.0.1/"} {
		if _, err := idTokens(Config{IDTokenKeys: address}, time.Now); err == nil || !strings.Contains(err.Error(), "ID_TOKEN_JWKS_URL") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
