package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/clientcert"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

var certificates = &clientcert.Reader{Now: authtest.Clock}

const (
	digest = "a26f2f1addebe9e4f1e5323590278d29125865352b7886c71aef86bbc14df13a"
	thumb  = "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu-Gu8FN8To" // of the same certificate
	other  = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// shows sets the headers of a load balancer that verified a certificate of the digest above.
func shows(service string, env auth.Environment) func(http.Header) {
	return func(h http.Header) {
		h.Set("X-Client-Cert-Present", "true")
		h.Set("X-Client-Cert-Chain-Verified", "true")
		h.Set("X-Client-Cert-SPIFFE", "spiffe://isectech.com/"+string(env)+"/"+service)
		h.Set("X-Client-Cert-SHA256-Fingerprint", digest)
		h.Set("X-Client-Cert-Serial-Number", "00:AD:3E")
	}
}

func both(edits ...func(http.Header)) func(http.Header) {
	return func(h http.Header) {
		for _, edit := range edits {
			edit(h)
		}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bearer := func(service string, env auth.Environment, thumbprint string) func(http.Header) {
		c := authtest.Claims(service, auth.PlatformAudience, auth.ServiceDiscover)
		c.Environment, c.Thumbprint = env, thumbprint
		return set("Authorization", "Bearer "+f.authority.Token(t, c))
	}
	const mtls, jwt, key = auth.MethodMTLS, auth.MethodJWT, auth.MethodAPIKey
	shown := shows(frontend, auth.Production)
	noDigest := func(h http.Header) { h.Del("X-Client-Cert-SHA256-Fingerprint") }
	for _, tc := range []struct {
		name   string
		sign   int // 1: the frontend signs, 2: the gateway
		edit   func(http.Header)
		want   []auth.Method
		reason auth.Reason
	}{
		{name: "alone", edit: shown, want: []auth.Method{mtls}},
		{name: "and its name", edit: both(shown, set("X-Service-Name", "frontend")), want: []auth.Method{mtls}},
		{name: "and another's name", edit: both(shown, set("X-Service-Name", gateway)), reason: auth.IdentityMismatch},
		{name: "of a service that nobody knows", edit: shows("isectech-gone", auth.Production), want: []auth.Method{mtls}},
		{name: "of an alias", edit: shows("frontend", auth.Production), reason: auth.IdentityMismatch},
		{name: "of where the service does not run", edit: shows(frontend, auth.Staging), reason: auth.IdentityMismatch},
		{name: "of Envoy", edit: set("X-Forwarded-Client-Cert", "Hash="+digest+";URI=spiffe://isectech.com/production/"+frontend), want: []auth.Method{mtls}},
		{name: "expired", edit: both(shown, set("X-Client-Cert-Not-After", "2026-01-04T11:59:59Z")), reason: auth.Expired},

		{name: "with a token", edit: both(shown, bearer(frontend, auth.Production, "")), want: []auth.Method{jwt, mtls}},
		{name: "with another's token", edit: both(shown, bearer(gateway, auth.Production, "")), reason: auth.IdentityMismatch},
		{name: "with another environment's token", edit: both(shown, bearer(frontend, auth.Development, "")), reason: auth.IdentityMismatch},
		{name: "with an operator's token", edit: both(shown, func(h http.Header) {
			c := authtest.Claims("operator:ops@isectech.com", auth.PlatformAudience, auth.AdminRead)
			c.Environment = ""
			h.Set("Authorization", "Bearer "+f.authority.Token(t, c))
		}), reason: auth.IdentityMismatch},
		{name: "with a signature", sign: 1, edit: shown, want: []auth.Method{mtls, key}},
		{name: "with another's signature", sign: 2, edit: shown, reason: auth.IdentityMismatch},
		{name: "with a bad signature", sign: 1, edit: both(shown, set("X-API-Key", "00")), reason: auth.BadSignature},
		{name: "with all", sign: 1, edit: both(shown, bearer(frontend, auth.Production, thumb)), want: []auth.Method{jwt, mtls, key}},
		{name: "malformed, with all else", sign: 1, edit: both(shown, bearer(frontend, auth.Production, ""), set("X-Client-Cert-SPIFFE", "x")), reason: auth.IdentityMismatch},

		{name: "bound to it", edit: both(shown, bearer(frontend, auth.Production, thumb)), want: []auth.Method{jwt, mtls}},
		{name: "bound to another", edit: both(shown, bearer(frontend, auth.Production, other)), reason: auth.IdentityMismatch},
		{name: "bound, and none shown", edit: bearer(frontend, auth.Production, thumb), reason: auth.IdentityMismatch},
		{name: "bound, and one that nobody can tell", edit: both(shown, noDigest, bearer(frontend, auth.Production, thumb)), reason: auth.IdentityMismatch},
		{name: "bound, and a signature instead", sign: 1, edit: bearer(frontend, auth.Production, thumb), reason: auth.IdentityMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/a", nil)
			if tc.sign > 0 {
				f.clients[tc.sign-1].Sign(t, r, nil)
			}
			tc.edit(r.Header)
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

func TestCertificatePrincipal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for env, scopes := range map[auth.Environment]auth.Scopes{auth.Production: auth.APIRead, auth.Development: 0} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		shows(frontend, env)(r.Header)
		found, err := newOf(f).Authenticate(r, authn.Direct(r, ""), names{})
		want := auth.Principal{
			Subject: auth.MustSubject(frontend), Environment: env, Scopes: scopes, Method: auth.MethodMTLS,
			Certificate: thumb, Serial: "ad3e",
		}
		if err != nil || len(found) != 1 || found[0] != want {
			t.Errorf("%+v %v", found, err)
		}
	}
}

// Whatever is wrong with the other credentials, the nonce of the signature beside them stays good.
func TestBadCertificateKeepsNonce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := authtest.Claims(frontend, auth.PlatformAudience, auth.ServiceDiscover)
	c.Thumbprint = thumb
	boundToken := "Bearer " + f.authority.Token(t, c)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	f.clients[0].Sign(t, r, nil)
	signed := r.Header.Clone()
	for name, edit := range map[string]func(http.Header){
		"unverified":          both(shows(frontend, auth.Production), set("X-Client-Cert-Chain-Verified", "false")),
		"malformed":           set("X-Forwarded-Client-Cert", "x"),
		"not running there":   shows(frontend, auth.Staging),
		"another than bound":  both(set("Authorization", boundToken), shows(frontend, auth.Production), set("X-Client-Cert-SHA256-Fingerprint", strings.Repeat("00", 32))),
		"none, but bound":     set("Authorization", boundToken),
		"of another's token":  both(set("Authorization", f.bearer(t, gateway)), shows(frontend, auth.Production)),
		"beside a bad token":  both(set("Authorization", "Bearer x"), shows(frontend, auth.Production)),
		"expired, like bread": both(shows(frontend, auth.Production), set("X-Client-Cert-Not-After", "2020-01-01T00:00:00Z")),
	} {
		r.Header = signed.Clone()
		edit(r.Header)
		if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); auth.ReasonOf(err) == "" || f.signatures.asked != 0 {
			t.Errorf("%s: asked %d times: %v", name, f.signatures.asked, err)
		}
	}
	r.Header = signed
	if _, err := f.Authenticate(r, authn.Direct(r, ""), names{}); err != nil {
		t.Error(err)
	}
}

// The certificate of the connection is the sender's: the caller's own, or that of a proxy that speaks for it.
func TestWhoseConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ca := authtest.NewCA(t)
	leaf := ca.Issue(t, authtest.ClientTemplate(gateway, auth.Production)).Leaf
	for _, tc := range []struct {
		name   string
		edit   func(http.Header)
		want   string
		reason auth.Reason
	}{
		{name: "the caller", edit: func(http.Header) {}, want: gateway},
		{name: "a caller that claims to be a proxy", edit: both(set(authn.HeaderProxyMarker, "guess"), shows(frontend, auth.Production)), want: gateway},
		{name: "a proxy, of no one", edit: set(authn.HeaderProxyMarker, marker), reason: auth.NoCredentials},
		{name: "a proxy, of a client with a certificate", edit: both(set(authn.HeaderProxyMarker, marker), shows(frontend, auth.Production)), want: frontend},
		{name: "a proxy, of a client with a token", edit: both(set(authn.HeaderProxyMarker, marker), set("Authorization", f.bearer(t, frontend))), want: frontend},
		{name: "a proxy, of a client whose token is bound to the proxy's", edit: both(set(authn.HeaderProxyMarker, marker), func(h http.Header) {
			c := authtest.Claims(gateway, auth.PlatformAudience, auth.ServiceDiscover)
			c.Thumbprint = clientcert.Thumbprint(leaf)
			h.Set("Authorization", "Bearer "+f.authority.Token(t, c))
		}), reason: auth.IdentityMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			connection := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, ca.Root}}}
			r.TLS = connection
			tc.edit(r.Header)
			hops.Clean(r)
			if r.TLS == nil || len(connection.PeerCertificates) != 1 {
				t.Error("the connection itself was changed")
			}
			found, err := newOf(f).Authenticate(r, authn.Direct(r, ""), names{})
			if auth.ReasonOf(err) != tc.reason || (err == nil) != (tc.want != "") {
				t.Fatalf("got %v", err)
			}
			if err == nil && found[0].Subject.String() != tc.want {
				t.Errorf("got %s, want %s", found[0].Subject, tc.want)
			}
		})
	}
}

// A token says what it is bound to, also to those who judge it by themselves.
func TestBoundPrincipal(t *testing.T) {
	t.Parallel()
	if p := authn.PrincipalOf(&token.Claims{Thumbprint: thumb}); p.Certificate != thumb || p.Serial != "" {
		t.Errorf("%+v", p)
	}
}
