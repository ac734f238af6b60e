package authn_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

const (
	frontend = "isectech-frontend"
	gateway  = "isectech-api-gateway"
)

// signatures verifies with the keys of clients, as authz does, and counts how often it was asked.
type signatures struct {
	*signature.Verifier
	asked int
	err   error
}

func (s *signatures) VerifySignature(ctx context.Context, signed authn.Signed) (auth.Principal, error) {
	s.asked++
	if s.err != nil {
		return auth.Principal{}, s.err
	}
	if err := s.Verify(ctx, signed.Request, signed.MAC); err != nil {
		return auth.Principal{}, err
	}
	name := map[string]string{"frontend": frontend}[signed.Request.Service]
	if name == "" {
		name = signed.Request.Service
	}
	return auth.Principal{Subject: auth.MustSubject(name), Method: auth.MethodAPIKey, KeyID: signed.Request.KeyID}, nil
}

// names knows two services, each with its alias.
type names struct{}

func (names) Resolve(ref string) (auth.Subject, bool) {
	known := map[string]string{frontend: frontend, "frontend": frontend, gateway: gateway, "api-gateway": gateway}
	name, ok := known[ref]
	if !ok {
		return auth.Subject{}, false
	}
	return auth.MustSubject(name), true
}

func (names) Runs(_ auth.Subject, env auth.Environment) bool { return env != auth.Staging }

func (names) Grant(_ auth.Subject, env auth.Environment) auth.Scopes {
	if env == auth.Production {
		return auth.APIRead
	}
	return 0
}

type fixture struct {
	authority *authtest.Authority
	clients   authtest.Ring
	*authn.Authenticator
	signatures *signatures
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		authority: authtest.NewAuthority(t, token.ES256),
		clients:   authtest.Ring{authtest.NewClient(frontend), authtest.NewClient(gateway)},
	}
	f.signatures = &signatures{Verifier: f.clients.Verifier()}
	f.Authenticator = &authn.Authenticator{Tokens: f.authority.Verifier(t), Signatures: f.signatures, Certificates: certificates}
	return f
}

func (f *fixture) bearer(t *testing.T, subject string) string {
	t.Helper()
	return "Bearer " + f.authority.Token(t, authtest.Claims(subject, auth.PlatformAudience, auth.ServiceDiscover))
}

func TestCredentialsTogether(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	expired := authtest.Claims(frontend, auth.PlatformAudience, auth.ServiceDiscover)
	expired.IssuedAt, expired.ExpiresAt = authtest.Now.Add(-time.Hour), authtest.Now.Add(-50*time.Minute)
	for _, tc := range []struct {
		name   string
		bearer []string // of Authorization
		sign   int      // 1: the frontend signs, 2: the gateway
		edit   func(http.Header)
		want   []auth.Method
		reason auth.Reason
	}{
		{name: "nothing", reason: auth.NoCredentials},
		{name: "a name alone", edit: set("X-Service-Name", frontend), reason: auth.NoCredentials},
		{name: "a health checker's name", edit: set("User-Agent", "GoogleHC/1.0"), reason: auth.NoCredentials},
		{name: "a digest alone", edit: set("X-Content-SHA256", "00"), reason: auth.NoCredentials},
		{name: "a token", bearer: []string{f.bearer(t, frontend)}, want: []auth.Method{auth.MethodJWT}},
		{name: "another case of Bearer", bearer: []string{"bEARER" + f.bearer(t, frontend)[6:]}, want: []auth.Method{auth.MethodJWT}},
		{name: "a signature", sign: 1, want: []auth.Method{auth.MethodAPIKey}},
		{name: "both", bearer: []string{f.bearer(t, frontend)}, sign: 1, want: []auth.Method{auth.MethodJWT, auth.MethodAPIKey}},
		{name: "both, of two services", bearer: []string{f.bearer(t, gateway)}, sign: 1, reason: auth.IdentityMismatch},

		{name: "a token and its name", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", frontend), want: []auth.Method{auth.MethodJWT}},
		{name: "a token and its alias", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", "frontend"), want: []auth.Method{auth.MethodJWT}},
		{name: "a token and its name twice", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", frontend, "frontend"), want: []auth.Method{auth.MethodJWT}},
		{name: "a token and another's name", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", gateway), reason: auth.IdentityMismatch},
		{name: "a token and another's name beside its own", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", frontend, gateway), reason: auth.IdentityMismatch},
		{name: "a token and nobody's name", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", "isectech-nobody"), reason: auth.IdentityMismatch},
		{name: "a token and an empty name", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", ""), reason: auth.IdentityMismatch},
		{name: "a token and a name of another case", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", "Isectech-Frontend"), reason: auth.IdentityMismatch},
		{name: "a token and two names in one", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Service-Name", frontend+", "+frontend), reason: auth.IdentityMismatch},
		{name: "a token of someone unknown and its name", bearer: []string{f.bearer(t, "isectech-gone")}, edit: set("X-Service-Name", "isectech-gone"), want: []auth.Method{auth.MethodJWT}},

		// Nothing that fails is made up for by what does not.
		{name: "an expired token beside a signature", bearer: []string{"Bearer " + f.authority.Token(t, expired)}, sign: 1, reason: auth.Expired},
		{name: "no token beside a signature", bearer: []string{""}, sign: 1, reason: auth.MalformedToken},
		{name: "Basic beside a signature", bearer: []string{"Basic Zm9vOmJhcg=="}, sign: 1, reason: auth.MalformedToken},
		{name: "Bearer alone", bearer: []string{"Bearer"}, reason: auth.MalformedToken},
		{name: "Bearer and a space", bearer: []string{"Bearer "}, reason: auth.MalformedToken},
		{name: "two spaces", bearer: []string{"Bearer  " + f.bearer(t, frontend)[7:]}, reason: auth.MalformedToken},
		{name: "two tokens", bearer: []string{f.bearer(t, frontend), f.bearer(t, frontend)}, reason: auth.MalformedToken},
		{name: "an empty one before a token", bearer: []string{"", f.bearer(t, frontend)}, reason: auth.MalformedToken},
		{name: "two tokens in one", bearer: []string{f.bearer(t, frontend) + ", " + f.bearer(t, frontend)}, reason: auth.MalformedToken},
		{name: "a bad signature beside a token", bearer: []string{f.bearer(t, frontend)}, sign: 1, edit: set("X-API-Key", "00"), reason: auth.BadSignature},
		{name: "a part of a signature beside a token", bearer: []string{f.bearer(t, frontend)}, edit: set("X-API-Nonce", ""), reason: auth.BadSignature},
		{name: "the old form of the key", edit: set("X-API-Key", "00"), reason: auth.BadSignature},
		{name: "a nonce twice", sign: 1, edit: func(h http.Header) { h.Add("X-API-Nonce", h.Get("X-API-Nonce")) }, reason: auth.BadSignature},
		{name: "another body's digest", sign: 1, edit: set("X-Content-SHA256", signature.BodyDigest([]byte("x"))), reason: auth.BadSignature},
		{name: "without the digest of a body that is here", sign: 1, edit: func(h http.Header) { h.Del("X-Content-SHA256") }, want: []auth.Method{auth.MethodAPIKey}},

		{name: "a certificate that nobody verified", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Client-Cert-Present", "true"), reason: auth.BadSignature},
		{name: "Envoy's certificate", bearer: []string{f.bearer(t, frontend)}, edit: set("X-Forwarded-Client-Cert", "Hash=00"), reason: auth.UntrustedProxy},
		{name: "no certificate, as a proxy says it", bearer: []string{f.bearer(t, frontend)}, edit: func(h http.Header) {
			h.Set("X-Client-Cert-Present", "false")
			h.Set("X-Client-Cert-Chain-Verified", "false")
			h.Set("X-Client-Cert-SPIFFE", "")
		}, want: []auth.Method{auth.MethodJWT}},
		{name: "no certificate, and yet one", bearer: []string{f.bearer(t, frontend)}, edit: func(h http.Header) {
			h.Set("X-Client-Cert-Present", "false")
			h.Set("X-Client-Cert-SPIFFE", "spiffe://isectech.com/production/isectech-admin")
		}, reason: auth.UntrustedProxy},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/a?b=1", nil)
			if tc.sign > 0 {
				f.clients[tc.sign-1].Sign(t, r, nil)
			}
			if tc.bearer != nil {
				r.Header["Authorization"] = tc.bearer
			}
			if tc.edit != nil {
				tc.edit(r.Header)
			}
			found, err := newOf(f).Authenticate(r, authn.Direct(r, signature.BodyDigest(nil)), names{})
			if auth.ReasonOf(err) != tc.reason || (err != nil) != (tc.reason != "") {
				t.Fatalf("got %v, want %s", err, tc.reason)
			}
			var methods []auth.Method
			for _, p := range found {
				methods = append(methods, p.Method)
			}
			if diff := cmp.Diff(tc.want, methods); diff != "" {
				t.Errorf("methods (-want +got):\n%s", diff)
			}
		})
	}
}

// newOf is a fixture of the same keys with a memory of its own, for tests at once.
func newOf(f *fixture) *authn.Authenticator {
	return &authn.Authenticator{Tokens: f.Tokens, Signatures: &signatures{Verifier: f.clients.Verifier()}, Certificates: certificates}
}

func set(name string, values ...string) func(http.Header) {
	return func(h http.Header) { h[http.CanonicalHeaderKey(name)] = values }
}

// A token that is no good does not cost the signature beside it its nonce.
func TestBadTokenKeepsNonce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	f.clients[0].Sign(t, r, nil)
	r.Header.Set("Authorization", "Bearer x.y.z")
	if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); auth.ReasonOf(err) != auth.MalformedToken || f.signatures.asked != 0 {
		t.Fatalf("asked %d times: %v", f.signatures.asked, err)
	}
	r.Header.Del("Authorization")
	if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); err != nil {
		t.Error(err)
	}
	if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); auth.ReasonOf(err) != auth.Replayed {
		t.Errorf("again: %v", err)
	}
}

func TestTLSCertificateIsNotPassedOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.Certificates = nil
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", f.bearer(t, frontend))
	r.TLS = &tls.ConnectionState{}
	if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); err != nil {
		t.Errorf("TLS without a client certificate: %v", err)
	}
	r.TLS.PeerCertificates = []*x509.Certificate{{}}
	if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); auth.ReasonOf(err) != auth.UntrustedProxy {
		t.Errorf("got %v", err)
	}
}

// Nobody who could say is no "yes", and no refusal either.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.signatures.err = errors.New("authz cannot be reached")
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	f.clients[0].Sign(t, r, nil)
	found, err := f.Authenticate(r, authn.Direct(r, ""), names{})
	if !errors.Is(err, f.signatures.err) || auth.ReasonOf(err) != "" || found != nil {
		t.Errorf("%v %v", found, err)
	}
}

// The target is judged as it was sent, whatever net/http makes of it.
func TestDirect(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for target, good := range map[string]bool{
		"/a%2Fb//c/../d?x=%7e&x": true, "/?": true, "*": true,
		"http://127.0.0.1/a": false, // two places to take the host from
		"/a\xff":             true,
		"a":                  false,
		"":                   false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RequestURI, r.Host = target, "API.isectech.com:8443"
		o := authn.Direct(r, signature.BodyDigest(nil))
		if o.Host != "api.isectech.com:8443" {
			t.Errorf("host %q", o.Host)
		}
		h, err := f.clients[0].Key.Headers(signature.Request{
			Method: r.Method, Path: o.Path, RawQuery: o.RawQuery, Host: o.Host, BodySHA256: o.BodySHA256, Service: frontend,
			KeyID: "k1", Timestamp: signature.FormatTimestamp(authtest.Now), Nonce: signature.NewNonce(),
		})
		if (err == nil) != good {
			t.Errorf("%q: signed: %v", target, err)
		}
		if err != nil {
			other := httptest.NewRequest(http.MethodGet, "/", nil)
			f.clients[0].Sign(t, other, nil)
			h = other.Header
		}
		r.Header = h
		if _, err := f.Authenticate(r, o, names{}); (err == nil) != good || err != nil && auth.ReasonOf(err) != auth.BadSignature {
			t.Errorf("%q: %v", target, err)
		}
	}
}
