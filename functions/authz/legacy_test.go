package authz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/trust"
)

var sharedSecret = strings.Repeat("s3cret-", 5)

// legacy is the fixture with both legacy modes on, and a secret for HS256 unless it is "".
func legacyFixture(t *testing.T, secret string) *fixture {
	t.Helper()
	f := newFixture(t)
	if secret != "" {
		if err := f.Secrets.Create(t.Context(), trust.LegacySecret, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Secrets.AddVersion(t.Context(), trust.LegacySecret, []byte(secret)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := f.cfg
	cfg.LegacyHS256, cfg.LegacyAPIKeys = true, true
	f.Service = New(cfg, f.deps)
	f.handler = f.Handler()
	return f
}

// hs256 is a token as old clients sign it.
func (f *fixture) hs256(t *testing.T, secret, subject, audience string, scopes auth.Scopes) string {
	t.Helper()
	return authtest.HMAC(t, token.HS256, []byte(secret), `{"alg":"HS256","kid":"k1","typ":"JWT"}`,
		f.Issuer.ClaimsJSON(t, f.Claims(subject, audience, scopes)))
}

func TestLegacyHS256(t *testing.T) {
	t.Parallel()
	f := legacyFixture(t, sharedSecret)
	validate := func(raw string) answer {
		return f.get(t, "/internal/auth/validate", raw, "X-Target-Service", backend, "X-Required-Scopes", "api:read")
	}
	validate(f.hs256(t, sharedSecret, gateway, backend, auth.APIRead)).want(t, 200, "", auth.Allowed)
	validate(f.hs256(t, sharedSecret, gateway, backend, 0)).want(t, 403, "insufficient_scope", auth.InsufficientScope)
	validate(f.hs256(t, sharedSecret, frontend, backend, auth.APIRead)).want(t, 403, "untrusted_edge", auth.UntrustedEdge)
	validate(f.hs256(t, sharedSecret, gateway, frontend, auth.APIRead)).want(t, 401, "authentication_failed", auth.WrongAudience)
	validate(f.hs256(t, sharedSecret+"x", gateway, backend, auth.APIRead)).want(t, 401, "authentication_failed", auth.BadSignature)
	validate(f.Token(t, gateway, backend, auth.APIRead)).want(t, 200, "", auth.Allowed)
	stale := f.hs256(t, sharedSecret, gateway, backend, auth.APIRead)
	f.Clock.Advance(time.Hour)
	validate(stale).want(t, 401, "authentication_failed", auth.Expired)

	// A shared secret makes no operators, and nobody an operator.
	operator := f.Claims("operator:ops@isectech.com", auth.PlatformAudience, auth.AllScopes)
	f.get(t, "/internal/auth/policy", authtest.HMAC(t, token.HS256, []byte(sharedSecret), `{"alg":"HS256","kid":"k1"}`, f.Issuer.ClaimsJSON(t, operator))).
		want(t, 401, "authentication_failed", auth.IdentityMismatch)
	f.get(t, "/internal/auth/policy", f.hs256(t, sharedSecret, "isectech-admin", auth.PlatformAudience, auth.AllScopes)).
		want(t, 403, "insufficient_scope", auth.InsufficientScope)
	// The public key is no secret.
	f.get(t, "/internal/auth/validate", f.hs256(t, string(f.Issuer.PublicPEM(t)), gateway, backend, auth.APIRead)).
		want(t, 401, "authentication_failed", auth.BadSignature)
}

// Without a secret that is worth the name nothing is let in by it, and it is said why; all else goes on.
func TestLegacyHS256Secrets(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]string{"none": "", "short": "0123456789abcdef", "blank": strings.Repeat(" ", 40)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := legacyFixture(t, secret)
			for range 3 {
				f.get(t, "/internal/auth/validate", f.hs256(t, secret+"x", gateway, backend, auth.APIRead)).
					want(t, 503, "unavailable", auth.PolicyUnavailable)
			}
			if logs := f.Logs.String(); strings.Count(logs, "HS256 tokens are refused") != 1 || secret != "" && strings.Contains(logs, secret) {
				t.Errorf("logs %s", logs)
			}
			f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead)).want(t, 200, "", auth.Allowed)
		})
	}
}

func TestLegacyIsOffByDefault(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.get(t, "/internal/auth/validate", f.hs256(t, sharedSecret, gateway, backend, auth.APIRead)).want(t, 401, "authentication_failed", auth.BadSignature)
	f.legacyKey(t, http.MethodGet, "/internal/auth/validate", frontend, f.legacyMAC(t, frontend, frontend), nil).
		want(t, 401, "authentication_failed", auth.BadSignature)
}

// legacyMAC is the MAC of a name by a service's key.
func (f *fixture) legacyMAC(t *testing.T, of, name string) string {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(f.APIKey(t, of).Key.Encode()))
	_, _ = io.WriteString(mac, name)
	return hex.EncodeToString(mac.Sum(nil))
}

func (f *fixture) legacyKey(t *testing.T, method, path, name, mac string, edit func(http.Header)) answer {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader("grant_type=client_credentials"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Service-Name", name)
	r.Header.Set("X-API-Key", mac)
	if edit != nil {
		edit(r.Header)
	}
	return f.call(t, r)
}

func TestLegacyAPIKey(t *testing.T) {
	t.Parallel()
	f := legacyFixture(t, "")
	mac := f.legacyMAC(t, frontend, frontend)
	good := f.legacyKey(t, http.MethodGet, "/internal/auth/validate", frontend, mac, nil)
	good.want(t, 200, "", auth.Allowed)
	if good.Header().Get("X-Auth-Scopes") != "service:discover" || good.Header().Get("X-Auth-Method") != "legacy_api_key" {
		t.Errorf("headers %v", good.Header())
	}
	if !strings.Contains(f.Logs.String(), `"level":"WARN","msg":"a legacy API key was used`) || strings.Contains(f.Logs.String(), mac) {
		t.Errorf("logs %s", f.Logs)
	}
	discover := func(h http.Header) {
		h.Set("X-Target-Service", auth.PlatformAudience)
		h.Set("X-Required-Scopes", "service:discover")
	}
	f.legacyKey(t, http.MethodGet, "/internal/auth/validate", frontend, mac, discover).want(t, 200, "", auth.Allowed)
	f.legacyKey(t, http.MethodGet, "/internal/auth/validate", "frontend", f.legacyMAC(t, frontend, "frontend"), nil).want(t, 200, "", auth.Allowed)

	const failed = "authentication_failed"
	header := func(name, value string) func(http.Header) {
		return func(h http.Header) { h.Add(name, value) }
	}
	for _, tc := range []struct {
		name, service, mac string
		edit               func(http.Header)
		status             int
		code               string
		reason             auth.Reason
	}{
		{"more than discovery", frontend, mac, func(h http.Header) {
			h.Set("X-Target-Service", gateway)
			h.Set("X-Required-Scopes", "api:read")
		}, 403, "insufficient_scope", auth.InsufficientScope},
		{"another's key", frontend, f.legacyMAC(t, gateway, frontend), nil, 401, failed, auth.BadSignature},
		{"for another name", gateway, mac, nil, 401, failed, auth.BadSignature},
		{"an alias for the name", "frontend", mac, nil, 401, failed, auth.BadSignature},
		{"a service nobody knows", "isectech-nobody", mac, nil, 401, failed, auth.BadSignature},
		{"in capitals", frontend, strings.ToUpper(mac), nil, 401, failed, auth.BadSignature},
		{"cut short", frontend, mac[:62], nil, 401, failed, auth.BadSignature},
		{"nothing", frontend, "", nil, 401, failed, auth.BadSignature},
		{"two keys", frontend, mac, header("X-API-Key", mac), 401, failed, auth.BadSignature},
		{"two names", frontend, mac, header("X-Service-Name", frontend), 401, failed, auth.BadSignature},
		{"with a part of today's form", frontend, mac, header("X-API-Key-ID", "k1"), 401, failed, auth.BadSignature},
		{"with an empty part of it", frontend, mac, header("X-API-Nonce", ""), 401, failed, auth.BadSignature},
		{"beside another's token", frontend, mac, header("Authorization", "Bearer "+f.Token(t, gateway, auth.PlatformAudience, auth.APIRead)), 401, failed, auth.IdentityMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f.legacyKey(t, http.MethodGet, "/internal/auth/validate", tc.service, tc.mac, tc.edit).want(t, tc.status, tc.code, tc.reason)
		})
	}
	// Whoever else receives one asks, and hears no more of it.
	server := httptest.NewServer(f.handler)
	t.Cleanup(server.Close)
	asking, err := guard.NewAuthz(server.URL, config.NewSecret(marker), auth.Production)
	if err != nil {
		t.Fatal(err)
	}
	asked := authn.Signed{Legacy: true, MAC: mac, Request: signature.Request{Service: frontend, Method: "GET", Path: "/internal/registry/services", Host: "h"}}
	if p, err := asking.VerifySignature(t.Context(), asked); err != nil || p.Scopes != auth.ServiceDiscover || p.Subject.String() != frontend ||
		p.Method != auth.MethodLegacyKey {
		t.Errorf("asked by another function: %+v, %v", p, err)
	}
	// It buys no token, with which more could be done and for longer.
	f.legacyKey(t, http.MethodPost, "/internal/auth/token", frontend, mac, nil).want(t, 401, "invalid_client", auth.NoCredentials)
}
