package client

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/balance"
	"github.com/isectech/service-networking/shared/registry/endpoint"
)

// Wherever a caller's URL is pointed, it leads to the endpoint's host and below its path, and to nobody else's.
func FuzzDirect(f *testing.F) {
	f.Add("https://backend-services/v1?x=1", "https://a.run.test/base", "/api")
	f.Add("http://backend.internal.isectech.com//evil.test/%2e%2e/", "https://[fd00::1]:8443", "")
	f.Add("http://a/%2F%2Fevil.test", "http://10.0.0.1:8080/x%20y/", "/")
	f.Add("http://a?@evil.test", "grpcs://a.test", "")
	f.Fuzz(func(t *testing.T, asked, at, path string) {
		u, err := url.Parse(asked)
		if err != nil {
			return
		}
		if _, _, ok := serviceOf(u); !ok {
			return
		}
		want, err := endpoint.Parse(at)
		if err != nil || path != "" && endpoint.CheckPath(path) != nil {
			return
		}
		r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host}
		found := Found{Pick: balance.Pick{Endpoint: &balance.Endpoint{Choice: registry.Choice{URL: at, Path: path, Protocol: "https"}}}}
		if direct(r, found) != nil {
			return
		}
		got, err := url.Parse(r.URL.String())
		if err != nil {
			t.Fatalf("%s: %v", r.URL, err)
		}
		if got.Hostname() != want.Host || got.User != nil || r.Host != "" || got.Scheme != "https" {
			t.Errorf("%s leads to %s, not to %s", asked, got, want.Host)
		}
		base := strings.TrimSuffix(want.Path, "/") + strings.TrimSuffix(path, "/") + "/"
		if !strings.HasPrefix(got.EscapedPath(), base) {
			t.Errorf("%s leads to %s, which is not below %s", asked, got, base)
		}
	})
}
