package guard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/guard"
)

const marker = "the-marker-of-our-proxy"

// signed is a signed request that authz is asked about.
func signed() authn.Signed {
	return authn.Signed{MAC: "the-mac", Request: signature.Request{
		Method: http.MethodPost, Path: "/internal/registry/register", RawQuery: "a=%2F", Host: "registry.isectech.com",
		BodySHA256: signature.BodyDigest(nil), Service: "frontend", KeyID: "k2", Timestamp: "2026-01-04T12:00:00Z", Nonce: "n",
	}}
}

// askAt asks the authz that a handler is.
func askAt(t *testing.T, h http.HandlerFunc) (auth.Principal, error) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	authz, err := guard.NewAuthz(server.URL+"/", config.NewSecret(marker), auth.Production)
	if err != nil {
		t.Fatal(err)
	}
	return authz.VerifySignature(t.Context(), signed())
}

func TestAuthzIsAsked(t *testing.T) {
	t.Parallel()
	var asked http.Header
	var line string
	p, err := askAt(t, func(w http.ResponseWriter, r *http.Request) {
		asked, line = r.Header.Clone(), r.Method+" "+r.RequestURI
		fmt.Fprint(w, `{"valid":true,"service_name":"isectech-frontend","scopes":["api:read","service:discover","of:tomorrow"],"more":1}`)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Principal{
		Subject: auth.MustSubject("isectech-frontend"), Environment: auth.Production,
		Scopes: auth.APIRead | auth.ServiceDiscover, Method: auth.MethodAPIKey,
	}
	if diff := cmp.Diff(want, p, cmp.Comparer(func(a, b auth.Subject) bool { return a == b })); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if line != "GET /internal/auth/validate" {
		t.Errorf("asked %s", line)
	}
	for name, value := range map[string]string{
		"X-Service-Name": "frontend", "X-API-Key-ID": "k2", "X-API-Timestamp": "2026-01-04T12:00:00Z", "X-API-Nonce": "n",
		"X-API-Key": "the-mac", "X-Content-SHA256": signature.BodyDigest(nil), "X-ISECTECH-Proxy-Marker": marker,
		"X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/internal/registry/register?a=%2F", "X-Forwarded-Host": "registry.isectech.com",
	} {
		if got := asked.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

func TestAnswersOfAuthz(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		reason auth.Reason // "": nobody could say
	}{
		{"replayed", 401, `{"error":"authentication_failed","reason":"replayed","message":"used before","valid":false}`, auth.Replayed},
		{"unknown key", 401, `{"reason":"unknown_key"}`, auth.UnknownKey},
		{"no such service", 403, `{"reason":"unknown_service"}`, auth.UnknownService},
		{"rate", 429, `{"reason":"rate_limited"}`, auth.RateLimited},
		{"no nonces", 503, `{"error":"unavailable","reason":"nonce_unavailable"}`, auth.NonceUnavailable},
		{"no policy", 503, `{"error":"unavailable","reason":"policy_unavailable"}`, auth.PolicyUnavailable},

		{"an error of another kind", 500, `{"error":"internal"}`, ""},
		{"not found", 404, `{"error":"not_found"}`, ""},
		{"a reason of another status", 500, `{"reason":"replayed"}`, ""},
		{"a refusal that calls itself good", 401, `{"reason":"allowed"}`, ""},
		{"good without being valid", 200, `{"reason":"allowed","service_name":"isectech-frontend"}`, ""},
		{"valid under another status", 403, `{"valid":true,"service_name":"isectech-frontend","reason":"allowed"}`, ""},
		{"accepted", 202, `{"valid":true,"service_name":"isectech-frontend"}`, ""},
		{"nobody", 200, `{"valid":true}`, ""},
		{"a malformed name", 200, `{"valid":true,"service_name":"../admin"}`, ""},
		{"a name twice", 200, `{"valid":true,"service_name":"isectech-frontend","service_name":"isectech-admin"}`, ""},
		{"another case", 200, `{"VALID":true,"Service_Name":"isectech-frontend"}`, ""},
		{"a string for a boolean", 200, `{"valid":"true","service_name":"isectech-frontend"}`, ""},
		{"nothing", 200, ``, ""},
		{"a page", 200, `<html>valid</html>`, ""},
		{"null", 200, `null`, ""},
		{"an array", 200, `[]`, ""},
		{"something after it", 200, `{"valid":true,"service_name":"isectech-frontend"}{}`, ""},
		{"without end", 200, `{"valid":true,"service_name":"isectech-frontend","more":"` + strings.Repeat("x", 1<<17) + `"}`, ""},
		{"cut off", 200, `{"valid":true,"service_na`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := askAt(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			if err == nil || auth.ReasonOf(err) != tc.reason || p != (auth.Principal{}) {
				t.Errorf("%+v %v", p, err)
			}
		})
	}
}

// A redirect would take the marker and the signature to wherever it points.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	followed := false
	_, err := askAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/internal/auth/validate" {
			followed = true
			fmt.Fprint(w, `{"valid":true,"service_name":"isectech-admin"}`)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if err == nil || auth.ReasonOf(err) != "" || followed {
		t.Errorf("followed %v: %v", followed, err)
	}
}

func TestAuthzOutOfReach(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release); server.Close() })
	authz, err := guard.NewAuthz(server.URL, config.NewSecret(marker), auth.Production)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := authz.VerifySignature(ctx, signed()); !errors.Is(err, context.DeadlineExceeded) || auth.ReasonOf(err) != "" {
		t.Errorf("an authz that hangs: %v", err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if authz, err = guard.NewAuthz(gone.URL, config.NewSecret(marker), auth.Production); err != nil {
		t.Fatal(err)
	}
	if _, err := authz.VerifySignature(t.Context(), signed()); err == nil || auth.ReasonOf(err) != "" {
		t.Errorf("an authz that is not there: %v", err)
	}
	if strings.Contains(textOf(authz.VerifySignature(t.Context(), signed())), marker) {
		t.Error("the error tells the marker")
	}
}

func textOf(_ auth.Principal, err error) string { return err.Error() }

// Without a marker authz would take the question for the signed request and call its signature wrong.
func TestNoMarker(t *testing.T) {
	t.Parallel()
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(server.Close)
	authz, err := guard.NewAuthz(server.URL, config.Secret{}, auth.Production)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authz.VerifySignature(t.Context(), signed()); err == nil || auth.ReasonOf(err) != "" || asked {
		t.Errorf("asked %v: %v", asked, err)
	}
}

func TestNewAuthzRefuses(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "api.isectech.com", "ftp://api.isectech.com", "https://", "/internal", "https://a b"} {
		if _, err := guard.NewAuthz(base, config.NewSecret(marker), auth.Production); err == nil {
			t.Errorf("%q is taken", base)
		}
	}
}
