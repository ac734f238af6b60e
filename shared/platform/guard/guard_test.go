package guard_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const frontend = "isectech-frontend"

// guarded is an endpoint behind a guard, over a store that fails when told to.
type guarded struct {
	*platformtest.Platform
	store   *storetest.Faulty
	metrics *telemetry.Metrics
	handler http.Handler
	guard   *guard.Guard
}

func newGuarded(t *testing.T, a guard.Access) *guarded {
	t.Helper()
	p := platformtest.New(t)
	g := &guarded{Platform: p, store: storetest.NewFaulty(p.Store), metrics: telemetry.NewMetrics()}
	source := trust.NewSource(g.store, p.Clock.Now)
	authz, err := guard.NewAuthz("http://127.0.0.1:1", config.NewSecret(marker), auth.Production)
	if err != nil {
		t.Fatal(err)
	}
	g.guard = &guard.Guard{
		Hops: authn.Hops{Match: func(m string) bool { return m == marker }}, Trust: source,
		Tokens: &token.Verifier{Keys: source, Now: p.Clock.Now}, Signatures: authz,
		Metrics: g.metrics.ForService("isectech-test"), Logger: p.Logger(),
	}
	mux := httpx.NewMux()
	call := func(w http.ResponseWriter, r *http.Request) error {
		if _, _, err := g.guard.Caller(r, a); err != nil {
			return err
		}
		body, err := httpx.ReadBody(r, 0)
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, http.StatusOK, len(body))
	}
	mux.Handle("GET /", call)
	mux.Handle("POST /", call)
	g.handler = httpx.Wrap(mux, httpx.Options{Now: p.Clock.Now, Logger: p.Logger(), Errors: guard.Errors()})
	return g
}

func (g *guarded) call(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return w
}

func (g *guarded) get(t *testing.T, subject string, scopes auth.Scopes) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+g.Token(t, subject, auth.PlatformAudience, scopes))
	return g.call(r)
}

func wantAnswer(t *testing.T, w *httptest.ResponseRecorder, status int, parts ...string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	for _, part := range parts {
		if !strings.Contains(w.Body.String(), part) {
			t.Errorf("no %s in %s", part, w.Body)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	operator := "operator:" + platformtest.Operator
	for _, tc := range []struct {
		name    string
		anyOf   []auth.Scopes
		subject string
		held    auth.Scopes
		status  int
	}{
		{"none needed", nil, frontend, 0, 200},
		{"held and granted", []auth.Scopes{auth.ServiceDiscover}, frontend, auth.ServiceDiscover, 200},
		{"not held", []auth.Scopes{auth.ServiceDiscover}, frontend, auth.APIRead, 403},
		{"held and not granted", []auth.Scopes{auth.AdminRead}, frontend, auth.AllScopes, 403},
		{"the second of two", []auth.Scopes{auth.AdminRead, auth.ServiceDiscover}, frontend, auth.ServiceDiscover, 200},
		{"half of a set", []auth.Scopes{auth.ServiceDiscover | auth.MetricsRead}, frontend, auth.ServiceDiscover, 403},
		{"an operator", []auth.Scopes{auth.AdminWrite}, operator, auth.AllScopes, 200},
		{"an operator nobody knows", []auth.Scopes{auth.AdminWrite}, "operator:eve@isectech.com", auth.AllScopes, 403},
		{"a service nobody knows", nil, "isectech-nobody", auth.AllScopes, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newGuarded(t, guard.Access{AnyOf: tc.anyOf}).get(t, tc.subject, tc.held)
			wantAnswer(t, w, tc.status)
		})
	}
	wantAnswer(t, newGuarded(t, guard.Access{AnyOf: []auth.Scopes{auth.MetricsRead}}).get(t, frontend, auth.AllScopes),
		403, `"required":["metrics:read"]`, `"reason":"insufficient_scope"`)
}

// Reading goes on for five minutes without the store; writing and whatever rests on an admin scope for one.
func TestWritable(t *testing.T) {
	t.Parallel()
	operator := "operator:" + platformtest.Operator
	for _, tc := range []struct {
		name    string
		access  guard.Access
		subject string
		after   time.Duration
		status  int
	}{
		{"read", guard.Access{AnyOf: []auth.Scopes{auth.ServiceDiscover}}, frontend, 299 * time.Second, 200},
		{"read too late", guard.Access{AnyOf: []auth.Scopes{auth.ServiceDiscover}}, frontend, 300 * time.Second, 503},
		{"write", guard.Access{Write: true}, frontend, 59 * time.Second, 200},
		{"write too late", guard.Access{Write: true}, frontend, 60 * time.Second, 503},
		{"admin", guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}}, operator, 59 * time.Second, 200},
		{"admin too late", guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}}, operator, 60 * time.Second, 503},
		{"an operator without need of it", guard.Access{AnyOf: []auth.Scopes{auth.ServiceDiscover}}, operator, 60 * time.Second, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, tc.access)
			wantAnswer(t, g.get(t, tc.subject, auth.AllScopes), 200)
			g.store.Fail(storetest.CallGet, -1, store.ErrUnavailable)
			g.Clock.Advance(tc.after)
			w := g.get(t, tc.subject, auth.AllScopes)
			wantAnswer(t, w, tc.status)
			if tc.status == 503 {
				wantAnswer(t, w, 503, `"error":"unavailable"`, `"reason":"policy_unavailable"`)
				if w.Header().Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, guard.Access{})
	request := func(edit func(*http.Request)) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body"))
		edit(r)
		return r
	}
	sign := func(r *http.Request) {
		if err := g.APIKey(t, frontend).SignHTTP(r, []byte("body")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name   string
		edit   func(*http.Request)
		status int
		parts  []string
	}{
		{"nothing", func(*http.Request) {}, 401, []string{"authentication_required", "no_credentials"}},
		{"another's audience", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+g.Token(t, frontend, "isectech-api-gateway", auth.ServiceDiscover))
		}, 401, []string{"authentication_failed", "wrong_audience"}},
		{"authz cannot be reached", sign, 503, []string{"unavailable", "policy_unavailable"}},
		{"a body in another encoding", func(r *http.Request) {
			sign(r)
			r.Header.Set("Content-Encoding", "gzip")
		}, 415, nil},
		{"a body that breaks off", func(r *http.Request) {
			sign(r)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("bo"), broken{}))
		}, 400, []string{"invalid_request"}},
		{"a body that is too large", func(r *http.Request) {
			sign(r)
			r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(strings.Repeat("x", 2<<20)))
		}, 413, []string{"too_large"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := g.call(request(tc.edit))
			wantAnswer(t, w, tc.status, tc.parts...)
			if tc.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("malformed chunked encoding") }

// What only a proxy may say is taken off, and told as an event; a handler does not see it.
func TestUnprovenHopsAreReported(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, guard.Access{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+g.Token(t, frontend, auth.PlatformAudience, auth.ServiceDiscover))
	r.Header.Set("X-Client-Cert-SPIFFE", "spiffe://isectech.com/production/isectech-admin")
	r.Header.Set("X-ISECTECH-Proxy-Marker", "guess")
	wantAnswer(t, g.call(r), 200)
	if logs := g.Logs.String(); !strings.Contains(logs, "com.isectech.security.untrusted_proxy.v1") || strings.Contains(logs, "guess") {
		t.Errorf("logs %s", logs)
	}
	// From a proven hop the same certificate is a credential, which nobody here can check.
	r.Header.Set("X-Client-Cert-SPIFFE", "spiffe://isectech.com/production/isectech-admin")
	r.Header.Set("X-ISECTECH-Proxy-Marker", marker)
	wantAnswer(t, g.call(r), 401, "untrusted_proxy")
}
