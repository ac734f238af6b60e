package authz

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/config"
)

const thumbprint = "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu-Gu8FN8To"

// presents sets the headers of our load balancer that verified a certificate.
func presents(service, env string) func(http.Header) {
	return func(h http.Header) {
		h.Set("X-ISECTECH-Proxy-Marker", marker)
		h.Set("X-Client-Cert-Present", "true")
		h.Set("X-Client-Cert-Chain-Verified", "true")
		h.Set("X-Client-Cert-SPIFFE", "spiffe://isectech.com/"+env+"/"+service)
		h.Set("X-Client-Cert-SHA256-Fingerprint", thumbprint)
		h.Set("X-Client-Cert-Serial-Number", "01")
	}
}

// Where certificates are switched off, one is refused and never passed over; one that only claims to be there
// is taken off as ever.
func TestCertificatesSwitchedOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cfg := f.cfg
	cfg.EnableMTLS = false
	f.Service = New(cfg, f.deps)
	f.handler = f.Handler()

	const grant = "grant_type=client_credentials"
	f.form(t, "", grant, presents(frontend, "production")).want(t, 401, "invalid_client", auth.UntrustedProxy)
	f.form(t, frontend, grant, presents(frontend, "production")).want(t, 401, "invalid_client", auth.UntrustedProxy)
	f.form(t, frontend, grant, func(h http.Header) {
		presents(frontend, "production")(h)
		h.Del("X-ISECTECH-Proxy-Marker")
	}).want(t, 200, "", "")

	c := f.Claims(frontend, auth.PlatformAudience, auth.ServiceDiscover)
	c.Thumbprint = thumbprint
	f.get(t, "/internal/auth/validate", f.Mint(t, c)).want(t, 401, "authentication_failed", auth.IdentityMismatch)
	metadata := f.call(t, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-authorization-server", nil))
	if metadata.body["tls_client_certificate_bound_access_tokens"] != false || strings.Contains(metadata.Body.String(), "tls_client_auth") {
		t.Errorf("%s", metadata.Body)
	}
}

// What no proxy of ours tells is taken off even where the hop is proven: a client wrote it.
func TestCertificatesThatNoProxyTells(t *testing.T) {
	t.Parallel()
	envoy := func(h http.Header) {
		h.Set("X-ISECTECH-Proxy-Marker", marker)
		h.Set("X-Forwarded-Client-Cert", "URI=spiffe://isectech.com/production/"+frontend)
	}
	f := newFixture(t)
	for chosen, good := range map[config.CertHeaders][2]bool{"both": {true, true}, "google": {true, false}, "envoy": {false, true}, "none": {}} {
		cfg, before := f.cfg, len(f.Logs.String())
		cfg.ProxyCertificates = chosen
		f.Service = New(cfg, f.deps)
		f.handler = f.Handler()
		for i, tell := range []func(http.Header){presents(frontend, "production"), envoy} {
			r := httptest.NewRequest(http.MethodGet, "/internal/auth/validate", nil)
			tell(r.Header)
			a := f.call(t, r)
			if good[i] && a.Code != 200 || !good[i] && (a.Code != 401 || a.text("reason") != string(auth.NoCredentials)) {
				t.Errorf("%s, %d: %d %s", chosen, i, a.Code, a.Body)
			}
		}
		if attempts := strings.Contains(f.Logs.String()[before:], "untrusted_proxy"); attempts != (chosen != "both") {
			t.Errorf("%s: attempts are in the log: %v", chosen, attempts)
		}
	}
}

// An ID token is exchanged for a token that is bound to the certificate beside it, and both name one workload.
func TestExchangeWithCertificate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const account = "backend@project.iam.gserviceaccount.com"
	f.edit(t, func(d *policy.Document) {
		d.ServiceAccounts = map[string]policy.Account{account: {Service: backend, Environment: "development"}}
	})
	exchange := func(edit []string, with func(http.Header)) answer {
		return f.form(t, "", url.Values{"grant_type": {grantJWTBearer}, "assertion": {f.idToken(t, edit)}}.Encode(), with)
	}
	asAccount := []string{"email", `"` + account + `"`}
	a := exchange(asAccount, presents(backend, "development"))
	a.want(t, 200, "", "")
	claims, err := f.guard.Tokens.Verify(t.Context(), a.text("access_token"))
	if err != nil || claims.Thumbprint != thumbprint {
		t.Errorf("bound to %q: %v", claims.Thumbprint, err)
	}
	exchange(asAccount, presents(backend, "production")).want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(asAccount, presents(frontend, "development")).want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(nil, presents(backend, "production")).want(t, 401, "invalid_client", auth.IdentityMismatch) // an operator's
}
