package authn_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
)

const marker = "the-marker-of-our-proxy"

var hops = authn.Hops{Match: func(m string) bool { return m == marker }}

func TestClean(t *testing.T) {
	t.Parallel()
	const answer, certificate, forwarding = "X-Auth-Service-Name", "X-Client-Cert-Spiffe", "X-Forwarded-Uri"
	spoken := http.Header{answer: {"isectech-admin"}, certificate: {"spiffe://x"}, forwarding: {"/x"}, "X-Request-Id": {"1"}}
	for _, tc := range []struct {
		name     string
		hops     authn.Hops
		markers  []string
		proven   bool
		stripped []string
		left     []string
	}{
		{"our proxy", hops, []string{marker}, true, []string{answer}, []string{certificate, forwarding, "X-Request-Id"}},
		{"nobody", hops, nil, false, []string{answer, certificate}, []string{"X-Request-Id"}},
		{"a wrong marker", hops, []string{"guess"}, false, []string{answer, certificate, "X-ISECTECH-Proxy-Marker"}, []string{"X-Request-Id"}},
		{"our proxy, which is no load balancer", authn.Hops{Match: hops.Match, NoBalancer: true}, []string{marker}, true, []string{answer, certificate}, []string{forwarding, "X-Request-Id"}},
		{"our proxy, which is no Envoy", authn.Hops{Match: hops.Match, NoEnvoy: true}, []string{marker}, true, []string{answer}, []string{certificate, forwarding, "X-Request-Id"}},
		{"an empty marker", hops, []string{""}, false, []string{answer, certificate, "X-ISECTECH-Proxy-Marker"}, []string{"X-Request-Id"}},
		{"the marker twice", hops, []string{marker, marker}, false, []string{answer, certificate, "X-ISECTECH-Proxy-Marker"}, []string{"X-Request-Id"}},
		{"two markers", hops, []string{"guess", marker}, false, []string{answer, certificate, "X-ISECTECH-Proxy-Marker"}, []string{"X-Request-Id"}},
		{"no marker is ours", authn.Hops{}, []string{""}, false, []string{answer, certificate, "X-ISECTECH-Proxy-Marker"}, []string{"X-Request-Id"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header = spoken.Clone()
			for _, m := range tc.markers {
				r.Header.Add(authn.HeaderProxyMarker, m)
			}
			proven, stripped := tc.hops.Clean(r)
			slices.Sort(stripped)
			slices.Sort(tc.stripped)
			if proven != tc.proven || !slices.Equal(stripped, tc.stripped) {
				t.Errorf("proven %v, stripped %q, want %v, %q", proven, stripped, tc.proven, tc.stripped)
			}
			var left []string
			for name := range r.Header {
				left = append(left, name)
			}
			slices.Sort(left)
			if diff := cmp.Diff(tc.left, left); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

// A header of every kind that only a proxy may send, in whatever case it was sent.
func TestCleanEveryHeader(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"X-Client-Cert-Present", "X-Client-Cert-Chain-Verified", "x-client-cert-spiffe", "X-CLIENT-CERT-SHA256-FINGERPRINT",
		"X-Client-Cert-Serial-Number", "X-Client-Cert-Not-After", "X-Client-Cert-Of-Tomorrow", "x-forwarded-client-cert",
		"X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Original-URI", "X-Original-URL", "X-Original-Method",
		"X-Auth-Method", "X-Auth-Service-ID", "x-auth-scopes", "X-ISECTECH-Proxy-Marker",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(name, "guess")
		if proven, _ := hops.Clean(r); proven || len(r.Header) != 0 {
			t.Errorf("%s from anyone: proven %v, left %v", name, proven, r.Header)
		}
	}
}

// What proxies of ours do not tell, their clients may have written.
func TestCleanWhatNoProxyTells(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		hops authn.Hops
		left int
	}{{authn.Hops{}, 2}, {authn.Hops{NoEnvoy: true}, 1}, {authn.Hops{NoBalancer: true}, 1}, {authn.Hops{NoEnvoy: true, NoBalancer: true}, 0}} {
		tc.hops.Match = hops.Match
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for name, value := range map[string]string{
			authn.HeaderProxyMarker: marker, "X-Forwarded-Client-Cert": "URI=x", "X-Client-Cert-SPIFFE": "x",
		} {
			r.Header.Set(name, value)
		}
		if proven, stripped := tc.hops.Clean(r); !proven || len(stripped) != 2-tc.left || len(r.Header) != tc.left {
			t.Errorf("%+v: proven %v, stripped %q, left %v", tc.hops, proven, stripped, r.Header)
		}
	}
}

func TestForwarded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		header http.Header
		want   authn.Original
		ok     bool
		refuse bool
	}{
		{name: "nothing"},
		{name: "no target", header: http.Header{"X-Forwarded-Method": {"POST"}, "X-Forwarded-Host": {"a"}}},
		{name: "empty target", header: http.Header{"X-Forwarded-Uri": {""}}},
		{
			name:   "Traefik and Caddy",
			header: http.Header{"X-Forwarded-Method": {"PUT"}, "X-Forwarded-Uri": {"/a%2Fb?x=1?y"}, "X-Forwarded-Host": {"API.isectech.com"}},
			want:   authn.Original{Method: "PUT", Path: "/a%2Fb", RawQuery: "x=1?y", Host: "api.isectech.com"}, ok: true,
		},
		{
			name:   "NGINX auth_request",
			header: http.Header{"X-Original-Uri": {"//a/../b"}, "X-Original-Method": {"DELETE"}},
			want:   authn.Original{Method: "DELETE", Path: "//a/../b", Host: "example.com"}, ok: true,
		},
		{
			name:   "ingress-nginx",
			header: http.Header{"X-Original-Url": {"https://Backend.isectech.com:8443/a%20b?c=%2f"}, "X-Original-Method": {"GET"}},
			want:   authn.Original{Method: "GET", Path: "/a%20b", RawQuery: "c=%2f", Host: "backend.isectech.com:8443"}, ok: true,
		},
		{
			name:   "a URL without a path",
			header: http.Header{"X-Original-Url": {"http://backend?q=/"}},
			want:   authn.Original{Path: "/", RawQuery: "q=/", Host: "backend"}, ok: true,
		},
		{
			name:   "a URL in the query",
			header: http.Header{"X-Forwarded-Uri": {"/go?to=https://x/y"}},
			want:   authn.Original{Path: "/go", RawQuery: "to=https://x/y", Host: "example.com"}, ok: true,
		},
		{
			name:   "the same twice",
			header: http.Header{"X-Forwarded-Uri": {"/a?b", "/a?b"}, "X-Original-Url": {"https://h/a?b"}, "X-Forwarded-Method": {"GET"}, "X-Original-Method": {"GET"}},
			want:   authn.Original{Method: "GET", Path: "/a", RawQuery: "b", Host: "h"}, ok: true,
		},
		// What a client sends and the proxy passes on beside its own word.
		{name: "two targets", header: http.Header{"X-Forwarded-Uri": {"/public"}, "X-Original-Uri": {"/admin"}}, refuse: true},
		{name: "a target twice", header: http.Header{"X-Forwarded-Uri": {"/public", "/admin"}}, refuse: true},
		{name: "two methods", header: http.Header{"X-Original-Uri": {"/a"}, "X-Forwarded-Method": {"GET"}, "X-Original-Method": {"DELETE"}}, refuse: true},
		{name: "two hosts", header: http.Header{"X-Original-Uri": {"/a"}, "X-Forwarded-Host": {"a", "b"}}, refuse: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "http://example.com/internal/auth/validate", nil)
			r.Header = tc.header
			got, ok, err := authn.Forwarded(r)
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != tc.ok {
				t.Errorf("ok %v (-want +got):\n%s", ok, diff)
			}
			if refused := auth.ReasonOf(err) == auth.UntrustedProxy; refused != tc.refuse || (err != nil) != tc.refuse {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("/a?b", "https://h/a?b", "GET")
	f.Add("http://", "", "")
	f.Add("https://?", "/", "")
	f.Fuzz(func(t *testing.T, uri, url, method string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Forwarded-Uri"], r.Header["X-Original-Url"], r.Header["X-Forwarded-Method"] = []string{uri}, []string{url}, []string{method}
		o, ok, err := authn.Forwarded(r)
		if ok && (err != nil || o.Method != method || o.Host == "") {
			t.Errorf("%+v %v", o, err)
		}
		if err != nil && ok {
			t.Error("an error and an answer")
		}
		if !ok {
			return
		}
		// What is told to authz comes back as it was.
		again := httptest.NewRequest(http.MethodGet, "/", nil)
		authn.Forward(again.Header, o)
		if o.Path == "" || o.Path[0] != '/' {
			return // nothing that can be signed
		}
		if back, ok, err := authn.Forwarded(again); !ok || err != nil || back.Path != o.Path || back.RawQuery != o.RawQuery || back.Method != o.Method {
			t.Errorf("%+v became %+v: %v", o, back, err)
		}
	})
}
