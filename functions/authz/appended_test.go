package authz

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// A request that stands for another by its own method and target is judged as that one, when the hop is proven.
func TestValidateAppended(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(t, func(d *policy.Document) {
		d.Edges = []policy.Edge{{Caller: gateway, Target: backend, Methods: []string{"DELETE"}, PathPrefixes: []string{"/orders"}}}
	})
	bearer := f.Token(t, gateway, backend, auth.APIRead)
	for _, tc := range []struct {
		name, method, target string
		header               []string
		status               int
		reason               auth.Reason
	}{
		{"as it is", "DELETE", "/orders/1?a=/x", []string{authn.HeaderProxyMarker, marker}, 200, auth.Allowed},
		{"a path that is not clean", "DELETE", "//orders/./%31", []string{authn.HeaderProxyMarker, marker}, 200, auth.Allowed},
		{"another method", "GET", "/orders/1", []string{authn.HeaderProxyMarker, marker}, 403, auth.UntrustedEdge},
		{"out of the prefix", "DELETE", "/orders/../admin", []string{authn.HeaderProxyMarker, marker}, 403, auth.UntrustedEdge},
		{"an encoded slash", "DELETE", "/orders%2f1", []string{authn.HeaderProxyMarker, marker}, 403, auth.UntrustedEdge},
		{"the root", "DELETE", "/", []string{authn.HeaderProxyMarker, marker}, 403, auth.UntrustedEdge},
		{"a method of another protocol", "PROPFIND", "/orders", []string{authn.HeaderProxyMarker, marker}, 403, auth.UntrustedEdge},
		{"a client's word beside it", "DELETE", "/admin", []string{authn.HeaderProxyMarker, marker, "X-Forwarded-Uri", "/orders"}, 401, auth.UntrustedProxy},
		{"a client's method beside it", "GET", "/orders", []string{authn.HeaderProxyMarker, marker, "X-Original-Method", "DELETE"}, 401, auth.UntrustedProxy},
		{"from anyone", "DELETE", "/orders/1", nil, 403, auth.UntrustedEdge},
		{"from anyone, with a guess", "DELETE", "/orders/1", []string{authn.HeaderProxyMarker, "guess"}, 403, auth.UntrustedEdge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tc.method, "/internal/auth/validate"+tc.target, nil)
			r.Header.Set("Authorization", "Bearer "+bearer)
			r.Header.Set("X-Target-Service", backend)
			for i := 0; i+1 < len(tc.header); i += 2 {
				r.Header.Add(tc.header[i], tc.header[i+1])
			}
			a := f.call(t, r)
			if a.Code != tc.status || a.text("reason") != string(tc.reason) {
				t.Errorf("%d %s: %s", a.Code, a.text("reason"), a.Body)
			}
		})
	}
}

// What a proxy does not say is not taken to be harmless.
func TestValidateUnknownMethod(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.edit(t, func(d *policy.Document) {
		d.Edges = []policy.Edge{
			{Caller: gateway, Target: backend, Methods: []string{"GET"}},
			{Caller: gateway, Target: frontend},
		}
	})
	ask := func(target string, header ...string) answer {
		header = append(header, authn.HeaderProxyMarker, marker, "X-Original-Uri", "/orders", "X-Target-Service", target)
		return f.get(t, "/internal/auth/validate", f.Token(t, gateway, target, auth.APIRead), header...)
	}
	ask(backend, "X-Original-Method", "GET").want(t, 200, "", auth.Allowed)
	ask(backend).want(t, 403, "untrusted_edge", auth.UntrustedEdge)
	ask(frontend).want(t, 200, "", auth.Allowed)

	signed := httptest.NewRequest(http.MethodGet, "http://orders.isectech.com/orders", nil)
	if err := f.APIKey(t, gateway).SignHTTP(signed, nil); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		method string
		status int
	}{{"", 401}, {"DELETE", 401}, {"GET", 200}} {
		r := httptest.NewRequest(http.MethodGet, "/internal/auth/validate", nil)
		r.Header = signed.Header.Clone()
		r.Header.Set(authn.HeaderProxyMarker, marker)
		r.Header.Set("X-Original-Uri", "/orders")
		r.Header.Set("X-Forwarded-Host", "orders.isectech.com")
		if tc.method != "" {
			r.Header.Set("X-Original-Method", tc.method)
		}
		if a := f.call(t, r); a.Code != tc.status {
			t.Errorf("signed, asked about as %q: %d %s", tc.method, a.Code, a.Body)
		}
	}
}
