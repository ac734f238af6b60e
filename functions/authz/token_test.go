package authz

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
)

func formRequest(kind, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/internal/auth/token", strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return r
}

func TestReadForm(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	for _, tc := range []struct {
		name, kind, body string
		want             url.Values // nil: refused
	}{
		{"nothing", form, "", url.Values{}},
		{"two", form, "a=1&b=%20+x", url.Values{"a": {"1"}, "b": {"  x"}}},
		{"a charset", form + "; charset=UTF-8", "a=1", url.Values{"a": {"1"}}},
		{"another case", "Application/X-WWW-Form-Urlencoded", "a=1", url.Values{"a": {"1"}}},
		{"without a value", form, "scope=&audience&grant_type=x", url.Values{"grant_type": {"x"}}},
		{"twice", form, "a=1&a=1", nil},
		{"twice, once without a value", form, "a=1&a=", nil},
		{"twice, escaped", form, "a=1&%61=2", nil},
		{"a semicolon", form, "a=1;b=2", nil},
		{"a bad escape", form, "a=%zz", nil},
		{"a secret", form, "client_secret=x", nil},
		{"an empty secret", form, "client_secret=", nil},
		{"no type", "", "a=1", nil},
		{"JSON", "application/json", "{}", nil},
		{"a broken type", form + "; =", "a=1", nil},
		{"too much", form, "a=" + strings.Repeat("x", maxForm), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := readForm(formRequest(tc.kind, tc.body))
			if (err == nil) != (tc.want != nil) || err == nil && got.Encode() != tc.want.Encode() {
				t.Errorf("%v %v", got, err)
			}
		})
	}
}

func FuzzReadForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "a&a", "%00=%ff", "scope=", "a=1;b", "=&="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := readForm(formRequest("application/x-www-form-urlencoded", body))
		if err != nil {
			answered := new(httpx.Error)
			if !errors.As(oauth(t.Context(), err), &answered) || answered.Status < 400 || answered.Status >= 500 || answered.Fields["error_description"] == nil {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		for name, values := range form {
			if len(values) != 1 || values[0] == "" {
				t.Errorf("%q: %q is %q", body, name, values)
			}
		}
	})
}

// A parameter without a value counts as left out (RFC 6749 §3.2).
func TestEmptyParameters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.form(t, gateway, "grant_type=client_credentials&scope=&audience=&environment=&service_id=&client_id=", nil)
	a.want(t, 200, "", "")
	if a.text("scope") != "api:read api:write service:discover" || a.text("audience") != auth.PlatformAudience {
		t.Errorf("%s", a.Body)
	}
	f.form(t, gateway, "grant_type=", nil).want(t, 400, "invalid_request", "")
	f.form(t, gateway, "grant_type=client_credentials&scope=%20", nil).want(t, 400, "invalid_scope", auth.InsufficientScope)
	f.form(t, "", "grant_type="+url.QueryEscape(grantJWTBearer)+"&assertion=", nil).want(t, 400, "invalid_request", "")
	f.form(t, gateway, "grant_type=client_credentials&client_id=api-gateway", nil).want(t, 200, "", "")
	f.form(t, gateway, "grant_type=client_credentials&client_id=nobody", nil).want(t, 401, "invalid_client", auth.IdentityMismatch)
}

// Every error of the token endpoint has what RFC 6749 §5.2 wants beside what all errors have.
func TestTokenErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, a := range map[string]answer{
		"too large":        f.form(t, "", strings.Repeat("x", maxForm+1), nil),
		"no credentials":   f.form(t, "", "grant_type=client_credentials", nil),
		"no form":          f.form(t, "", "x", func(h http.Header) { h.Del("Content-Type") }),
		"another encoding": f.form(t, "", "x", func(h http.Header) { h.Set("Content-Encoding", "gzip") }),
	} {
		for _, member := range []string{"error", "error_description", "message", "request_id", "timestamp"} {
			if a.text(member) == "" {
				t.Errorf("%s: no %s: %s", name, member, a.Body)
			}
		}
		if a.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be cached", name)
		}
	}
}
