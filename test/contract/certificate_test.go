package contract

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/clientcert"
)

const (
	digest      = "a26f2f1addebe9e4f1e5323590278d29125865352b7886c71aef86bbc14df13a"
	otherDigest = "b26f2f1addebe9e4f1e5323590278d29125865352b7886c71aef86bbc14df13a"
	credentials = "grant_type=client_credentials"
)

// shown are the headers of our load balancer that verified a certificate, with pairs of names and values set
// upon them; a value of "-" takes the header away.
func shown(service, env string, pairs ...string) http.Header {
	h := http.Header{}
	h.Set("X-ISECTECH-Proxy-Marker", Marker)
	for _, all := range [][]string{{
		"X-Client-Cert-Present", "true", "X-Client-Cert-Chain-Verified", "true",
		"X-Client-Cert-SPIFFE", "spiffe://isectech.com/" + env + "/" + service,
		"X-Client-Cert-SHA256-Fingerprint", digest, "X-Client-Cert-Serial-Number", "00:AD:3E", "X-Client-Cert-Not-After", "2026-02-01T00:00:00+00:00",
	}, pairs} {
		for i := 0; i < len(all); i += 2 {
			if h.Set(all[i], all[i+1]); all[i+1] == "-" {
				h.Del(all[i])
			}
		}
	}
	return h
}

// viaEnvoy are the headers of our Envoy.
func viaEnvoy(value string) http.Header {
	return http.Header{"X-Isectech-Proxy-Marker": {Marker}, "X-Forwarded-Client-Cert": {value}}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	p := Start(t)
	const envoy = "Hash=" + digest + ";URI=spiffe://isectech.com/production/" + frontend
	with := func(h http.Header, pairs ...string) http.Header {
		for i := 0; i < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	for _, tc := range []struct {
		name    string
		request Request
		status  int
		code    string
		reason  auth.Reason
	}{
		{"the load balancer's", Request{Header: shown(frontend, "production")}, 200, "", auth.Allowed},
		{"Envoy's", Request{Header: viaEnvoy(envoy)}, 200, "", auth.Allowed},
		{"both", Request{Header: with(shown(frontend, "production"), "X-Forwarded-Client-Cert", envoy)}, 200, "", auth.Allowed},
		{"of development", Request{Header: shown(frontend, "development")}, 200, "", auth.Allowed},
		{"where it may call", Request{Header: with(shown(gateway, "production"), "X-Target-Service", backend, "X-Required-Scopes", "api:read")}, 200, "", auth.Allowed},
		{"where it may not", Request{Header: with(shown(frontend, "production"), "X-Target-Service", backend)}, 403, "untrusted_edge", auth.UntrustedEdge},
		{"for more than it is granted", Request{Header: with(shown(gateway, "production"), "X-Target-Service", backend, "X-Required-Scopes", "admin:read")}, 403, "insufficient_scope", auth.InsufficientScope},
		{"with a signature", Request{Sign: frontend, Header: shown(frontend, "production")}, 200, "", auth.Allowed},
		{"with a token", Request{Token: p.Token(t, frontend, gateway, auth.APIRead), Header: shown(frontend, "production")}, 200, "", auth.Allowed},

		{"from nobody", Request{Header: shown(frontend, "production", "X-ISECTECH-Proxy-Marker", "-")}, 401, "authentication_required", auth.NoCredentials},
		{"from a hop that guesses", Request{Header: shown(frontend, "production", "X-ISECTECH-Proxy-Marker", "guess-after-guess")}, 401, "authentication_required", auth.NoCredentials},
		{"Envoy's from nobody", Request{Header: http.Header{"X-Forwarded-Client-Cert": {envoy}}}, 401, "authentication_required", auth.NoCredentials},
		{"not verified", Request{Header: shown(frontend, "production", "X-Client-Cert-Chain-Verified", "false")}, 401, "authentication_failed", auth.BadSignature},
		{"not present", Request{Header: shown(frontend, "production", "X-Client-Cert-Present", "false")}, 401, "authentication_failed", auth.UntrustedProxy},
		{"told twice", Request{Header: with(shown(frontend, "production"), "X-Client-Cert-Spiffe", "spiffe://isectech.com/production/"+gateway)}, 401, "authentication_failed", auth.UntrustedProxy},
		{"expired", Request{Header: shown(frontend, "production", "X-Client-Cert-Not-After", "2026-01-04T11:00:00Z")}, 401, "authentication_failed", auth.Expired},
		{"of another domain", Request{Header: shown(frontend, "production", "X-Client-Cert-SPIFFE", "spiffe://evil.example/production/"+frontend)}, 401, "authentication_failed", auth.IdentityMismatch},
		{"of an alias", Request{Header: shown("frontend", "production")}, 401, "authentication_failed", auth.IdentityMismatch},
		{"of where it does not run", Request{Header: shown(frontend, "staging")}, 401, "authentication_failed", auth.IdentityMismatch},
		{"of a service nobody knows", Request{Header: shown("isectech-gone", "production")}, 403, "unknown_service", auth.UnknownService},
		{"two hops of Envoy", Request{Header: viaEnvoy(envoy + "," + envoy)}, 401, "authentication_failed", auth.UntrustedProxy},
		{"Envoy's malformed", Request{Header: viaEnvoy("URI")}, 401, "authentication_failed", auth.UntrustedProxy},
		{"two certificates", Request{Header: with(shown(frontend, "production"), "X-Forwarded-Client-Cert", strings.Replace(envoy, digest, otherDigest, 1))}, 401, "authentication_failed", auth.UntrustedProxy},
		{"two services", Request{Header: with(shown(gateway, "production"), "X-Forwarded-Client-Cert", envoy)}, 401, "authentication_failed", auth.IdentityMismatch},
		{"another's name", Request{Header: with(shown(frontend, "production"), "X-Service-Name", gateway)}, 401, "authentication_failed", auth.IdentityMismatch},
		{"another's signature", Request{Sign: gateway, Header: shown(frontend, "production")}, 401, "authentication_failed", auth.IdentityMismatch},
		{"another's token", Request{Token: p.Token(t, gateway, backend, auth.APIRead), Header: shown(frontend, "production")}, 401, "authentication_failed", auth.IdentityMismatch},
		{"another environment's token", Request{Token: p.Token(t, frontend, gateway, auth.APIRead), Header: shown(frontend, "development")}, 401, "authentication_failed", auth.IdentityMismatch},
		{"a bad token beside it", Request{Token: "x.y.z", Header: shown(frontend, "production")}, 401, "authentication_failed", auth.MalformedToken},
		{"a bad one beside a token", Request{Token: p.Token(t, frontend, gateway, auth.APIRead), Header: shown(frontend, "production", "X-Client-Cert-Chain-Verified", "false")}, 401, "authentication_failed", auth.BadSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := tc.request
			r.Path = validatePath
			a := p.Do(t, r)
			a.Want(t, tc.status, tc.code, string(tc.reason))
			if tc.status == http.StatusOK && r.Token == "" && (a.String("auth_method") != "mtls" || a.Header.Get("X-Auth-Method") != "mtls") {
				t.Errorf("method %s", a.Text)
			}
		})
	}
}

// The registry judges certificates by itself.
func TestClientCertificateAtTheRegistry(t *testing.T) {
	t.Parallel()
	p := Start(t)
	p.Do(t, Request{Path: servicesPath, Header: shown(frontend, "production")}).Want(t, http.StatusOK, "", "")
	p.Do(t, Request{Path: servicesPath, Header: shown(frontend, "production", "X-Client-Cert-Chain-Verified", "false")}).
		Want(t, http.StatusUnauthorized, "authentication_failed", "bad_signature")
	p.Do(t, Request{Path: "/internal/journal", Header: shown(frontend, "production")}).Want(t, http.StatusForbidden, "insufficient_scope", "")
	record := func(env string) Request {
		return Request{
			Method: http.MethodPost, Path: "/internal/registry/register", Header: shown(frontend, env),
			Body: `{"service_id":"frontend-1","service_name":"isectech-frontend","version":"1","environment":"production","region":"us-central1","endpoints":[]}`,
		}
	}
	p.Do(t, record("development")).Want(t, http.StatusForbidden, "not_owner", "")
	p.Do(t, record("production")).Want(t, http.StatusCreated, "", "")
}

func TestTokenByCertificate(t *testing.T) {
	t.Parallel()
	p := Start(t)
	ask := func(t *testing.T, body, sign string, h http.Header) Answer {
		t.Helper()
		return p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Type: form, Body: credentials + body, Sign: sign, Header: h})
	}
	for _, tc := range []struct {
		name   string
		body   string
		sign   string
		header http.Header
		status int
		code   string
		reason auth.Reason
	}{
		{"alone", "", "", shown(frontend, "production"), 200, "", ""},
		{"naming its client", "&client_id=frontend&environment=production&service_id=frontend-7", "", shown(frontend, "production"), 200, "", ""},
		{"with a signature", "", frontend, shown(frontend, "production"), 200, "", ""},
		{"with another's signature", "", gateway, shown(frontend, "production"), 401, "invalid_client", auth.IdentityMismatch},
		{"naming another client", "&client_id=" + gateway, "", shown(frontend, "production"), 401, "invalid_client", auth.IdentityMismatch},
		{"for another environment", "&environment=development", "", shown(frontend, "production"), 401, "invalid_client", auth.IdentityMismatch},
		{"for another's instance", "&service_id=api-gateway-1", "", shown(frontend, "production"), 400, "invalid_request", ""},
		{"where it may not call", "&audience=backend", "", shown(frontend, "production"), 400, "invalid_target", auth.UntrustedEdge},
		{"for what it is not granted", "&scope=admin:read", "", shown(frontend, "production"), 400, "invalid_scope", auth.InsufficientScope},
		{"not verified", "", "", shown(frontend, "production", "X-Client-Cert-Chain-Verified", "false"), 401, "invalid_client", auth.BadSignature},
		{"without a digest to bind to", "", "", shown(frontend, "production", "X-Client-Cert-SHA256-Fingerprint", "-"), 401, "invalid_client", auth.UntrustedProxy},
		{"without a digest, but signed", "", frontend, shown(frontend, "production", "X-Client-Cert-SHA256-Fingerprint", "-"), 401, "invalid_client", auth.UntrustedProxy},
		{"of a service nobody knows", "", "", shown("isectech-gone", "production"), 401, "invalid_client", auth.UnknownService},
		{"from nobody", "", "", shown(frontend, "production", "X-ISECTECH-Proxy-Marker", "-"), 401, "invalid_client", auth.NoCredentials},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := ask(t, tc.body, tc.sign, tc.header)
			a.Want(t, tc.status, tc.code, string(tc.reason))
			if tc.status == http.StatusOK {
				wantBound(t, a.String("access_token"), digest)
			}
		})
	}
	if a := p.Do(t, Request{Path: "/.well-known/oauth-authorization-server"}); a.Body["tls_client_certificate_bound_access_tokens"] != true ||
		!strings.Contains(a.Text, "tls_client_auth") {
		t.Errorf("metadata: %s", a.Text)
	}
}

// wantBound checks the cnf of a token.
func wantBound(t *testing.T, raw, sum string) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Confirmation map[string]string `json:"cnf"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{digest: "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu-Gu8FN8To"}[sum]
	if want == "" {
		want = sum
	}
	if claims.Confirmation["x5t#S256"] != want {
		t.Errorf("bound to %v, want %s", claims.Confirmation, want)
	}
}

// A bound token is good with its certificate alone, wherever it is shown.
func TestBoundToken(t *testing.T) {
	t.Parallel()
	p := Start(t)
	a := p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Type: form, Body: credentials, Header: shown(frontend, "production")})
	a.Want(t, http.StatusOK, "", "")
	tok := a.String("access_token")
	for _, path := range []string{validatePath, servicesPath} {
		ask := func(sign string, h http.Header) Answer {
			return p.Do(t, Request{Path: path, Token: tok, Sign: sign, Header: h})
		}
		ask("", shown(frontend, "production")).Want(t, http.StatusOK, "", "")
		ask("", viaEnvoy("Hash="+digest+";URI=spiffe://isectech.com/production/"+frontend)).Want(t, http.StatusOK, "", "")
		for name, h := range map[string]http.Header{
			"without":             nil,
			"from nobody":         shown(frontend, "production", "X-ISECTECH-Proxy-Marker", "-"),
			"another":             shown(frontend, "production", "X-Client-Cert-SHA256-Fingerprint", otherDigest),
			"nobody knows which":  shown(frontend, "production", "X-Client-Cert-SHA256-Fingerprint", "-"),
			"another workload's":  shown(gateway, "production"),
			"another environment": shown(frontend, "development"),
		} {
			for _, sign := range []string{"", frontend} { // a signature is no certificate
				got := ask(sign, h)
				if got.Status != http.StatusUnauthorized || got.String("reason") != string(auth.IdentityMismatch) ||
					!strings.Contains(got.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Errorf("%s, %s %q: %d %s", path, name, sign, got.Status, got.Text)
				}
			}
		}
	}
}

// A revoked serial is refused in whatever form it was told, and so is every certificate whose serial nobody
// tells.
func TestRevokedCertificate(t *testing.T) {
	t.Parallel()
	p := Start(t)
	a := p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Type: form, Body: credentials, Header: shown(frontend, "production")})
	a.Want(t, http.StatusOK, "", "")
	revoked, other := shown(frontend, "production"), shown(frontend, "production", "X-Client-Cert-Serial-Number", "ad3f")
	silent := shown(frontend, "production", "X-Client-Cert-Serial-Number", "")
	for _, h := range []http.Header{revoked, other, silent} {
		p.Do(t, Request{Path: validatePath, Header: h}).Want(t, http.StatusOK, "", "")
	}
	p.Do(t, Request{
		Method: http.MethodPost, Path: "/internal/auth/revoke", Token: p.Operator(t), Type: form, Body: "serial=0AD3E",
	}).Want(t, http.StatusOK, "", "")
	p.Clock.Advance(5 * time.Second)
	for _, path := range []string{validatePath, servicesPath} {
		p.Do(t, Request{Path: path, Header: revoked}).Want(t, http.StatusUnauthorized, "authentication_failed", "revoked")
		p.Do(t, Request{Path: path, Header: silent}).Want(t, http.StatusUnauthorized, "authentication_failed", "revoked")
		p.Do(t, Request{Path: path, Header: revoked, Token: a.String("access_token")}).Want(t, http.StatusUnauthorized, "authentication_failed", "revoked")
		p.Do(t, Request{Path: path, Header: other}).Want(t, http.StatusOK, "", "")
		p.Do(t, Request{Path: path, Header: other, Token: a.String("access_token")}).Want(t, http.StatusOK, "", "")
	}
	p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Type: form, Body: credentials, Header: revoked}).
		Want(t, http.StatusUnauthorized, "invalid_client", "revoked")
}

// As forward-auth the certificate is that of the request asked about.
func TestForwardedCertificate(t *testing.T) {
	t.Parallel()
	p := Start(t)
	h := shown(gateway, "production", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/api/v1/things", "X-Target-Service", backend)
	a := p.Do(t, Request{Path: validatePath, Header: h})
	a.Want(t, http.StatusOK, "", "allowed")
	if a.Header.Get("X-Auth-Service-Name") != gateway || a.Header.Get("X-Auth-Scopes") == "" {
		t.Errorf("%v", a.Header)
	}
}

// Certificates of the connection itself.
func TestDirectTLS(t *testing.T) {
	t.Parallel()
	p := Start(t)
	ca, stranger := authtest.NewCA(t), authtest.NewCA(t)
	for _, ask := range []tls.ClientAuthType{tls.RequireAndVerifyClientCert, tls.VerifyClientCertIfGiven, tls.RequestClientCert} {
		t.Run(ask.String(), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(p.handler)
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail, as they should
			server.TLS = &tls.Config{ClientAuth: ask, ClientCAs: ca.Pool(), Time: p.Clock.Now}
			server.StartTLS()
			t.Cleanup(server.Close)
			call := func(t *testing.T, cert *tls.Certificate, r Request) (Answer, error) {
				t.Helper()
				config := &tls.Config{RootCAs: x509.NewCertPool()}
				config.RootCAs.AddCert(server.Certificate())
				if cert != nil {
					// Shown whether the server's list of authorities has its issuer or not.
					config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
				}
				r.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
				defer r.Client.CloseIdleConnections()
				return Send(t.Context(), server.URL, r, nil)
			}
			issue := func(from *authtest.CA, edit func(*x509.Certificate)) *tls.Certificate {
				template := authtest.ClientTemplate(frontend, auth.Production)
				if edit != nil {
					edit(template)
				}
				cert := from.Issue(t, template)
				return &cert
			}
			must := func(t *testing.T, cert *tls.Certificate, r Request) Answer {
				t.Helper()
				a, err := call(t, cert, r)
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			own := issue(ca, nil)
			if ask == tls.RequestClientCert { // which nobody verifies
				must(t, own, Request{Path: validatePath}).Want(t, 401, "authentication_failed", "bad_signature")
				return
			}
			a := must(t, own, Request{Path: validatePath})
			a.Want(t, 200, "", "allowed")
			if a.String("auth_method") != "mtls" || a.String("service_name") != frontend || a.String("environment") != "production" {
				t.Errorf("%s", a.Text)
			}
			must(t, own, Request{Path: servicesPath}).Want(t, 200, "", "")

			// Whom the connection names, no header changes; from a proxy of ours, only headers name anyone.
			spoken := shown(gateway, "production", "X-ISECTECH-Proxy-Marker", "-")
			if a = must(t, own, Request{Path: validatePath, Header: spoken}); a.String("service_name") != frontend {
				t.Errorf("%s", a.Text)
			}
			if a = must(t, own, Request{Path: validatePath, Header: shown(gateway, "production")}); a.String("service_name") != gateway {
				t.Errorf("%s", a.Text)
			}
			must(t, own, Request{Path: validatePath, Header: http.Header{"X-Isectech-Proxy-Marker": {Marker}}}).
				Want(t, 401, "authentication_required", "no_credentials")

			for name, bad := range map[string]struct {
				edit   func(*x509.Certificate)
				reason string
			}{
				"common name": {func(c *x509.Certificate) { c.Subject.CommonName = gateway }, "identity_mismatch"},
				"two URIs":    {func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }, "identity_mismatch"},
				"no usage":    {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "bad_signature"},
				"authority":   {func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "bad_signature"},
			} {
				if a := must(t, issue(ca, bad.edit), Request{Path: validatePath}); a.Status != 401 || a.String("reason") != bad.reason {
					t.Errorf("%s: %d %s", name, a.Status, a.Text)
				}
			}
			for name, cert := range map[string]*tls.Certificate{
				"a stranger's": issue(stranger, nil),
				"expired":      issue(ca, func(c *x509.Certificate) { c.NotAfter = p.Clock.Now().Add(-time.Second) }),
				"for servers":  issue(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			} {
				if a, err := call(t, cert, Request{Path: validatePath}); err == nil {
					t.Errorf("%s: %d", name, a.Status)
				}
			}

			// The token that it gets is good on its connections alone.
			a = must(t, own, Request{Method: http.MethodPost, Path: tokenPath, Type: form, Body: credentials})
			a.Want(t, 200, "", "")
			tok := a.String("access_token")
			wantBound(t, tok, clientcert.Thumbprint(own.Leaf))
			must(t, own, Request{Path: servicesPath, Token: tok}).Want(t, 200, "", "")
			must(t, issue(ca, nil), Request{Path: servicesPath, Token: tok}).Want(t, 401, "authentication_failed", "identity_mismatch")
			if ask == tls.VerifyClientCertIfGiven {
				must(t, nil, Request{Path: servicesPath, Token: tok}).Want(t, 401, "authentication_failed", "identity_mismatch")
				must(t, nil, Request{Path: servicesPath, Token: p.Discover(t, frontend)}).Want(t, 200, "", "")
				must(t, nil, Request{Path: validatePath}).Want(t, 401, "authentication_required", "no_credentials")
			}
		})
	}
}
