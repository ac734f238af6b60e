package authz

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/security"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// newLimited is a fixture with a rate, and with what it publishes.
func newLimited(t *testing.T, limit string) (*fixture, *eventstest.Recorder) {
	t.Helper()
	f := newFixture(t)
	cfg, deps, published := f.cfg, f.Service.deps, new(eventstest.Recorder)
	if err := cfg.RateLimit.EnvDecode(limit); err != nil {
		t.Fatal(err)
	}
	deps.Publisher, deps.Limits, deps.Metrics = published, nil, telemetry.NewMetrics()
	f.Service = New(cfg, deps)
	f.handler = f.Handler()
	return f, published
}

// incidents are what was published, as kind, severity and whom it concerns.
func incidents(t *testing.T, published *eventstest.Recorder) []string {
	t.Helper()
	var told []string
	for _, e := range published.On(events.TopicSecurityEvents) {
		var i security.Incident
		if err := json.Unmarshal(e.Data, &i); err != nil {
			t.Fatal(err)
		}
		if e.Type != i.Kind.Type() || e.Source != "//isectech.com/functions/Authz" || e.Subject != i.ServiceName || i.RequestID == "" {
			t.Errorf("event %+v", e)
		}
		told = append(told, strings.TrimSpace(fmt.Sprint(i.Kind, " ", i.Severity, " ", i.ServiceName)))
	}
	return told
}

func wantIncidents(t *testing.T, published *eventstest.Recorder, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, incidents(t, published)); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

// wantQuota checks the RateLimit header fields.
func (a answer) wantQuota(t *testing.T, limit, retryAfter string) {
	t.Helper()
	got := a.Header().Get("RateLimit-Policy") + " " + a.Header().Get("RateLimit")
	if got != limit || a.Header().Get("Retry-After") != retryAfter {
		t.Errorf("limit %s, retry after %q; want %s, %q", got, a.Header().Get("Retry-After"), limit, retryAfter)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	f, published := newLimited(t, "3/1m")
	bearer := f.Token(t, gateway, backend, auth.APIRead)
	validate := func(header ...string) answer { return f.get(t, "/internal/auth/validate", bearer, header...) }
	to := []string{"X-Target-Service", backend}

	validate(to...).wantQuota(t, ` "default";r=2;t=20`, "")
	validate().wantQuota(t, ` "default";r=1;t=40`, "") // without a target it counts as well
	// What is refused for another reason does not count, and says nothing of the rate.
	a := validate("X-Target-Service", "monitoring")
	a.want(t, 403, "untrusted_edge", auth.UntrustedEdge)
	a.wantQuota(t, " ", "")
	validate(to...).wantQuota(t, ` "default";r=0;t=60`, "")
	a = validate(to...)
	a.want(t, 429, "rate_limited", auth.RateLimited)
	a.wantQuota(t, `"default";q=3;w=60 "default";r=0;t=20`, "20")
	if a.body["valid"] != false || a.text("decision") != "deny" || a.text("decision_id") == "" || a.text("message") != "too many requests" {
		t.Errorf("answer %v", a.body)
	}
	f.get(t, "/internal/auth/decisions/"+a.text("decision_id"), f.operator(t)).want(t, 200, "", auth.RateLimited)

	// Another token of the same caller changes nothing; the same caller elsewhere and others are counted apart.
	bearer = f.Token(t, gateway, backend, auth.APIRead)
	validate(to...).want(t, 429, "rate_limited", auth.RateLimited)
	claims := f.Claims(gateway, backend, auth.APIRead)
	claims.Environment = auth.Development
	bearer = f.Mint(t, claims)
	validate(to...).wantQuota(t, ` "default";r=2;t=20`, "")
	bearer = f.Token(t, frontend, gateway, auth.APIRead)
	validate().wantQuota(t, ` "default";r=2;t=20`, "")

	bearer = f.Token(t, gateway, backend, auth.APIRead)
	f.Clock.Advance(20 * time.Second)
	validate(to...).want(t, 200, "", auth.Allowed)
	validate(to...).want(t, 429, "rate_limited", auth.RateLimited)
	wantIncidents(t, published, "scope_violation medium "+gateway, "unusual_volume medium "+gateway)
}

func TestRateLimitOfTokens(t *testing.T) {
	t.Parallel()
	f, _ := newLimited(t, "2/1m")
	const body = "grant_type=client_credentials&scope=api:read&audience=backend"
	ask := func() answer { f.Clock.Advance(time.Millisecond); return f.form(t, gateway, body, nil) }
	ask().wantQuota(t, `"default";q=2;w=60 "default";r=1;t=30`, "")
	f.form(t, gateway, body+"&audience=x", nil).want(t, 400, "invalid_request", "")
	ask().want(t, 200, "", "")
	a := ask()
	a.want(t, 429, "rate_limited", auth.RateLimited)
	a.wantQuota(t, `"default";q=2;w=60 "default";r=0;t=30`, "30")
	if a.text("access_token") != "" || a.text("error_description") == "" || a.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answer %v %v", a.body, a.Header())
	}
	if n := strings.Count(f.Logs.String(), `"access token issued"`); n != 2 {
		t.Errorf("%d tokens are recorded", n)
	}
	if n := strings.Count(f.Logs.String(), `"access token refused"`); n != 2 {
		t.Errorf("%d refusals are recorded", n)
	}
}

func TestNoRateLimit(t *testing.T) {
	t.Parallel()
	f, _ := newLimited(t, "off")
	bearer := f.Token(t, gateway, backend, auth.APIRead)
	for range 20 {
		a := f.get(t, "/internal/auth/validate", bearer)
		a.want(t, 200, "", auth.Allowed)
		a.wantQuota(t, " ", "")
	}
}

// The policy's rates come before the platform's own, that of an edge before that of its caller.
func TestRateLimitOfThePolicy(t *testing.T) {
	t.Parallel()
	f, _ := newLimited(t, "off")
	const admin = "isectech-admin"
	f.edit(t, func(d *policy.Document) {
		entry := d.Services[gateway]
		entry.RateLimit = &policy.RateLimit{Requests: 5, Per: time.Minute}
		d.Services[gateway] = entry
		d.Edges = append(d.Edges, policy.Edge{Caller: gateway, Target: admin, RateLimit: &policy.RateLimit{Requests: 1, Per: time.Hour}})
	})
	bearer := f.Token(t, gateway, admin, auth.APIRead)
	validate := func(header ...string) answer { return f.get(t, "/internal/auth/validate", bearer, header...) }
	validate("X-Target-Service", admin).wantQuota(t, ` "isectech-admin";r=0;t=3600`, "")
	validate("X-Target-Service", admin).want(t, 429, "rate_limited", auth.RateLimited)
	validate().wantQuota(t, ` "default";r=4;t=12`, "") // its own is another matter
	f.form(t, gateway, "grant_type=client_credentials&audience=admin", nil).wantQuota(t, `"default";q=5;w=60 "default";r=3;t=24`, "")
}

// Each refusal is told with its kind and severity, and once.
func TestSecurityEvents(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		calls func(t *testing.T, f *fixture)
		want  []string
	}{
		"replay": {func(t *testing.T, f *fixture) {
			r := httptest.NewRequest(http.MethodGet, "/internal/auth/validate", nil)
			if err := f.APIKey(t, gateway).SignHTTP(r, nil); err != nil {
				t.Fatal(err)
			}
			f.call(t, r).want(t, 200, "", auth.Allowed)
			for range 3 {
				f.call(t, r).want(t, 401, "authentication_failed", auth.Replayed)
			}
		}, []string{"replay_detected high " + gateway}},
		"forged": {func(t *testing.T, f *fixture) {
			bearer := f.Token(t, gateway, backend, auth.APIRead)
			f.get(t, "/internal/auth/validate", bearer[:len(bearer)-8]+"AAAAAAAA").want(t, 401, "authentication_failed", auth.BadSignature)
		}, []string{"auth_failed high"}},
		"another's token": {func(t *testing.T, f *fixture) {
			f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead), "X-Service-Name", frontend).
				want(t, 401, "authentication_failed", auth.IdentityMismatch)
		}, []string{"identity_mismatch high " + frontend}},
		"proxy": {func(t *testing.T, f *fixture) {
			f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead), "X-Client-Cert-Present", "true").
				want(t, 200, "", auth.Allowed)
		}, []string{"untrusted_proxy high"}},
		"a service that would be admin": {func(t *testing.T, f *fixture) {
			f.get(t, "/internal/auth/policy", f.Token(t, gateway, auth.PlatformAudience, auth.AllScopes)).
				want(t, 403, "insufficient_scope", auth.InsufficientScope)
		}, []string{"privilege_violation high " + gateway}},
		"edges, one after the other": {func(t *testing.T, f *fixture) {
			for _, target := range []string{backend, "isectech-admin", "isectech-monitoring"} {
				f.get(t, "/internal/auth/validate", f.Token(t, frontend, target, auth.APIRead), "X-Target-Service", target).
					want(t, 403, "untrusted_edge", auth.UntrustedEdge)
			}
		}, []string{"scope_violation medium " + frontend, "privilege_violation high " + frontend}},
		"a token for nobody": {func(t *testing.T, f *fixture) {
			f.form(t, frontend, "grant_type=client_credentials&audience=backend", nil).want(t, 400, "invalid_target", auth.UntrustedEdge)
		}, []string{"scope_violation medium " + frontend}},
		"a token for more than is granted": {func(t *testing.T, f *fixture) {
			f.form(t, frontend, "grant_type=client_credentials&scope=metrics:read", nil).want(t, 400, "invalid_scope", auth.InsufficientScope)
		}, []string{"scope_violation medium " + frontend}},
		"a token that would be an admin's": {func(t *testing.T, f *fixture) {
			f.form(t, frontend, "grant_type=client_credentials&scope=admin:write", nil).want(t, 400, "invalid_scope", auth.InsufficientScope)
		}, []string{"privilege_violation high " + frontend}},
		"two networks": {func(t *testing.T, f *fixture) {
			bearer := f.Token(t, gateway, backend, auth.APIRead)
			for _, address := range []string{"10.0.0.1", "10.0.0.1", "203.0.113.7", "10.0.0.1"} {
				f.get(t, "/internal/auth/validate", bearer, "X-ISECTECH-Proxy-Marker", marker, "X-Forwarded-For", "1.2.3.4, "+address,
					"X-Forwarded-Uri", "/", "X-Forwarded-Method", "GET").want(t, 200, "", auth.Allowed)
			}
		}, []string{"token_shared high " + gateway}},
		"an old certificate": {func(t *testing.T, f *fixture) {
			r := httptest.NewRequest(http.MethodGet, "/internal/auth/validate", nil)
			r.Header.Set("Authorization", "Bearer "+f.Token(t, frontend, gateway, auth.APIRead))
			presents(frontend, "production")(r.Header)
			r.Header.Set("X-Client-Cert-Not-After", "2026-01-03T12:00:00Z")
			f.call(t, r).want(t, 401, "authentication_failed", auth.Expired)
		}, []string{"invalid_certificate high"}},
		"who says so himself": {func(t *testing.T, f *fixture) {
			bearer := f.Token(t, gateway, backend, auth.APIRead)
			for _, address := range []string{"10.0.0.1", "203.0.113.7"} {
				f.get(t, "/internal/auth/validate", bearer, "X-Forwarded-For", address).want(t, 200, "", auth.Allowed)
			}
		}, nil},
		"nothing shown": {func(t *testing.T, f *fixture) {
			f.call(t, httptest.NewRequest(http.MethodGet, "/internal/auth/validate", nil)).want(t, 401, "authentication_required", auth.NoCredentials)
		}, nil},
		"nothing wrong": {func(t *testing.T, f *fixture) {
			f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead), "X-Target-Service", backend).want(t, 200, "", auth.Allowed)
			f.form(t, gateway, "grant_type=client_credentials", nil).want(t, 200, "", "")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, published := newLimited(t, "1000/1m")
			tc.calls(t, f)
			wantIncidents(t, published, tc.want...)
			scraped := f.scrape(t)
			for _, told := range tc.want {
				words := strings.Fields(told)
				if line := fmt.Sprintf("security_events_total{severity=%q,type=%q}", words[1], words[0]); !strings.Contains(scraped, line) {
					t.Errorf("not counted: %s", line)
				}
			}
			for _, e := range published.On(events.TopicSecurityEvents) {
				if text := string(e.Data); strings.Contains(text, "eyJ") || strings.Contains(text, marker) {
					t.Errorf("a credential is told: %s", text)
				}
			}
		})
	}
}

// scrape returns the metrics.
func (f *fixture) scrape(t *testing.T) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Authorization", "Bearer "+f.operator(t))
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w.Body.String()
}

// Nobody is refused, or waits, because an event cannot be published.
func TestEventsThatCannotBePublished(t *testing.T) {
	t.Parallel()
	f, published := newLimited(t, "1000/1m")
	published.Fail(-1, events.ErrUnavailable)
	bearer := f.Token(t, frontend, backend, auth.APIRead)
	for range 5 {
		f.get(t, "/internal/auth/validate", bearer, "X-Target-Service", backend).want(t, 403, "untrusted_edge", auth.UntrustedEdge)
	}
	published.Fail(0, nil)
	f.Clock.Advance(time.Minute)
	f.get(t, "/internal/auth/validate", bearer, "X-Target-Service", backend).want(t, 403, "untrusted_edge", auth.UntrustedEdge)
	if told := published.On(events.TopicSecurityEvents); len(told) != 1 || !strings.Contains(string(told[0].Data), `"count":6`) {
		t.Errorf("published %+v", told)
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// Every denial gets a line of bounded length.
func TestDenialsAreBounded(t *testing.T) {
	t.Parallel()
	f, _ := newLimited(t, "1000/1m")
	f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead), "X-Target-Service", backend,
		"X-Required-Scopes", strings.Repeat(strings.Repeat("x", 200)+" ", 100),
		"X-ISECTECH-Proxy-Marker", marker, "X-Forwarded-Uri", "/"+strings.Repeat("y", 6000), "X-Forwarded-Method", strings.Repeat("Z", 1000)).
		want(t, 403, "insufficient_scope", auth.InsufficientScope)
	for line := range strings.Lines(f.Logs.String()) {
		if len(line) > 6000 {
			t.Errorf("a line of %d bytes: %.500s", len(line), line)
		}
	}
}

func TestRateLimitConfig(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if want := (ratelimit.Limit{Requests: 1000, Per: time.Minute}); f.cfg.RateLimit != want {
		t.Errorf("by default %s", f.cfg.RateLimit)
	}
}
