package authz

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		want             httpx.Values // nil: refused
	}{
		{"nothing", form, "", httpx.Values{}},
		{"two", form, "a=1&b=%20+x", httpx.Values{"a": "1", "b": "  x"}},
		{"a charset", form + "; charset=UTF-8", "a=1", httpx.Values{"a": "1"}},
		{"another case", "Application/X-WWW-Form-Urlencoded", "a=1", httpx.Values{"a": "1"}},
		{"without a value", form, "scope=&audience&grant_type=x", httpx.Values{"grant_type": "x"}},
		{"twice", form, "a=1&a=1", nil},
		{"twice, once without a value", form, "a=1&a=", nil},
		{"twice, escaped", form, "a=1&%61=2", nil},
		{"a semicolon", form, "a=1;b=2", nil},
		{"a bad escape", form, "a=%zz", nil},
		{"a secret", form, "client_secret=x", nil},
		{"an empty secret", form, "client_secret=", nil},
		{"an assertion of the client", form, "client_assertion=x", nil},
		{"another charset", form + "; charset=utf-16", "a=1", nil},
		{"no type", "", "a=1", nil},
		{"JSON", "application/json", "{}", nil},
		{"a broken type", form + "; =", "a=1", nil},
		{"too much", form, "a=" + strings.Repeat("x", maxForm), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := readForm(formRequest(tc.kind, tc.body))
			if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.want != nil) {
				t.Errorf("%v (-want +got):\n%s", err, diff)
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
		for name, value := range form {
			if value == "" {
				t.Errorf("%q: %q is empty", body, name)
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

// Every error of the token endpoint has what RFC 6749 §5.2 wants beside what all errors have, and a description of
// the characters that it allows.
func TestTokenErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const grant, challenge = "grant_type=client_credentials", `Bearer realm="isectech"`
	header := func(name string, values ...string) func(http.Header) {
		return func(h http.Header) { h[http.CanonicalHeaderKey(name)] = values }
	}
	const formType = "application/x-www-form-urlencoded"
	for name, tc := range map[string]struct {
		answer    answer
		status    int
		code      string
		challenge string
	}{
		"too large":        {f.form(t, "", strings.Repeat("x", maxForm+1), nil), 413, "too_large", ""},
		"no credentials":   {f.form(t, "", grant, nil), 401, "invalid_client", challenge},
		"other ones":       {f.form(t, "", grant, header("Authorization", "Basic dTpw")), 401, "invalid_client", challenge + `, error="invalid_token"`},
		"no form":          {f.form(t, "", "x", header("Content-Type")), 400, "invalid_request", ""},
		"two types":        {f.form(t, gateway, grant, header("Content-Type", formType, "application/json")), 400, "invalid_request", ""},
		"another charset":  {f.form(t, gateway, grant, header("Content-Type", formType+"; charset=utf-16")), 400, "invalid_request", ""},
		"another encoding": {f.form(t, "", "x", header("Content-Encoding", "gzip")), 400, "invalid_request", ""},
		"twice":            {f.form(t, gateway, grant+"&scope=a&scope=b", nil), 400, "invalid_request", ""},
		"odd grant":        {f.form(t, gateway, "grant_type=%22%5C%C3%A9%0A", nil), 400, "unsupported_grant_type", ""},
		"odd audience":     {f.form(t, gateway, grant+"&audience=%22%5C%C3%A9%0A", nil), 400, "invalid_target", ""},
		"odd environment":  {f.form(t, gateway, grant+"&environment=%22%5C%C3%A9%0A", nil), 400, "invalid_request", ""},
		"odd instance":     {f.form(t, gateway, grant+"&service_id=%22%5C%C3%A9%0A", nil), 400, "invalid_request", ""},
		"odd client":       {f.form(t, gateway, grant+"&client_id=%22%5C%C3%A9%0A", nil), 401, "invalid_client", challenge + `, error="invalid_token"`},
		"odd scope":        {f.form(t, gateway, grant+"&scope=api:read%0Aapi:write", nil), 400, "invalid_scope", ""}, // RFC 6749 §3.3: spaces alone
	} {
		a := tc.answer
		if a.Code != tc.status || a.text("error") != tc.code || a.Header().Get("WWW-Authenticate") != tc.challenge {
			t.Errorf("%s: %d %s, challenged by %q", name, a.Code, a.Body, a.Header().Get("WWW-Authenticate"))
		}
		for _, member := range []string{"error", "error_description", "message", "request_id", "timestamp"} {
			if a.text(member) == "" {
				t.Errorf("%s: no %s: %s", name, member, a.Body)
			}
		}
		if strings.ContainsFunc(a.text("error_description"), func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			t.Errorf("%s: description %q", name, a.text("error_description"))
		}
		if a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("Pragma") != "no-cache" {
			t.Errorf("%s: may be cached", name)
		}
	}
	if a := f.form(t, gateway, grant, nil); a.Header().Get("Cache-Control") != "no-store" || a.Header().Get("Pragma") != "no-cache" {
		t.Errorf("a token may be cached: %v", a.Header())
	}
}

// Who gets a token, or is let through, is counted like who is not.
func TestAttemptsAreCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	jwtBearer := "grant_type=" + url.QueryEscape(grantJWTBearer) + "&assertion="
	for _, step := range []struct {
		ask  func()
		want string
	}{
		{func() { f.form(t, gateway, "grant_type=client_credentials", nil) }, `method="api_key",result="allowed"`},
		{func() { f.form(t, gateway, "grant_type=client_credentials&audience=nobody", nil) }, `method="api_key",result="unknown_service"`},
		{func() { f.form(t, "", jwtBearer+f.idToken(t, nil), nil) }, `method="jwt",result="allowed"`},
		{func() { f.form(t, "", jwtBearer+"x.y.z", nil) }, `method="jwt",result="malformed_token"`},
		{func() { f.form(t, "", "grant_type=client_credentials", nil) }, `method="none",result="no_credentials"`},
		{func() {
			f.form(t, "", "grant_type=client_credentials", presents(frontend, "production"))
		}, `method="mtls",result="allowed"`},
	} {
		step.ask()
		if got := f.attempts(step.want); got != "1" {
			t.Errorf("%s: %q", step.want, got)
		}
	}
	f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead)).want(t, 200, "", auth.Allowed)
	if got := f.attempts(`method="jwt",result="allowed"`); got != "2" {
		t.Errorf("validated: %q", got)
	}
}

// attempts returns how many attempts to authenticate have been counted under these labels.
func (f *fixture) attempts(labels string) string {
	w := httptest.NewRecorder()
	f.deps.Metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	_, after, _ := strings.Cut(w.Body.String(), "service_auth_attempts_total{"+labels)
	_, after, _ = strings.Cut(after, "} ")
	count, _, _ := strings.Cut(after, "\n")
	return count
}
