package authz

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const (
	frontend = "isectech-frontend"
	gateway  = "isectech-api-gateway"
	backend  = "isectech-backend-services"
	marker   = "the-marker-of-our-proxy"
)

// fixture is the function over a bootstrapped platform whose store fails when told to, with an identity
// provider of its own for ID tokens.
type fixture struct {
	*platformtest.Platform
	*Service
	store   *storetest.Faulty
	idp     *authtest.Authority
	handler http.Handler
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	p := platformtest.New(t)
	f := &fixture{Platform: p, store: storetest.NewFaulty(p.Store), idp: authtest.NewAuthority(t, token.RS256)}
	var cfg Config
	env := map[string]string{"TRUSTED_PROXY_MARKER": marker, "ALLOW_LOG_RATE": "1"}
	if err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, &cfg); err != nil {
		t.Fatal(err)
	}
	f.Service = New(cfg, Deps{
		Store: f.store, Secrets: p.Secrets, Now: p.Clock.Now, Logger: p.Logger(), Metrics: telemetry.NewMetrics(),
		Assertions: &IDTokens{Issuer: issuer, Audience: "isectech-authz", Keys: f.idp.Keys(t), Now: p.Clock.Now},
	})
	f.handler = f.Handler()
	return f
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	body map[string]any
}

func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

func (a answer) want(t *testing.T, status int, code string, reason auth.Reason) {
	t.Helper()
	if a.Code != status || a.text("error") != code || a.text("reason") != string(reason) {
		t.Errorf("got %d %s %s, want %d %s %s: %s", a.Code, a.text("error"), a.text("reason"), status, code, reason, a.Body)
	}
}

func (f *fixture) call(t *testing.T, r *http.Request) answer {
	t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	a := answer{ResponseRecorder: w}
	if err := json.Unmarshal(w.Body.Bytes(), &a.body); err != nil && w.Body.Len() > 0 {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return a
}

// get asks with a token.
func (f *fixture) get(t *testing.T, path, bearer string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+bearer)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return f.call(t, r)
}

// ask asks authorize with a token.
func (f *fixture) ask(t *testing.T, bearer, kind, body string) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/internal/auth/authorize", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", kind)
	return f.call(t, r)
}

// form asks for a token; sign is the service that signs, if any.
func (f *fixture) form(t *testing.T, sign, body string, edit func(http.Header)) answer {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/internal/auth/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if sign != "" {
		if err := f.APIKey(t, sign).SignHTTP(r, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if edit != nil {
		edit(r.Header)
	}
	return f.call(t, r)
}

func (f *fixture) operator(t *testing.T) string {
	t.Helper()
	return f.Token(t, "operator:"+platformtest.Operator, auth.PlatformAudience, auth.AllScopes)
}

// edit changes the policy.
func (f *fixture) edit(t *testing.T, change func(*policy.Document)) {
	t.Helper()
	current, err := f.Platform.Store.Get(t.Context(), trust.PolicyRef)
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := policy.Parse(current.Data)
	if err != nil {
		t.Fatal(err)
	}
	change(doc)
	_, err = f.Platform.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: trust.PolicyRef, Data: doc, If: store.AtGeneration(current.Generation)},
		{Ref: trust.PolicyVersionRef(current.Generation + 1), Data: doc},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.Clock.Advance(time.Second)
}

// What the policy withdraws is lost at once, whatever tokens say that still live.
func TestWithdrawnWhileATokenLives(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bearer := f.Token(t, gateway, backend, auth.APIRead|auth.APIWrite)
	validate := func(header ...string) answer { return f.get(t, "/internal/auth/validate", bearer, header...) }
	validate("X-Target-Service", backend, "X-Required-Scopes", "api:write").want(t, 200, "", auth.Allowed)

	f.edit(t, func(d *policy.Document) {
		entry := d.Services[gateway]
		entry.Scopes = []string{"api:read", "service:discover"}
		d.Services[gateway] = entry
	})
	lacking := validate("X-Target-Service", backend, "X-Required-Scopes", "api:write")
	lacking.want(t, 403, "insufficient_scope", auth.InsufficientScope)
	if got := lacking.Header().Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="isectech", error="insufficient_scope"`) { // RFC 6750 §3.1
		t.Errorf("challenged by %q", got)
	}
	// Without a target nothing is judged by its scopes, but what is told are those that are left.
	for _, a := range []answer{validate(), validate("X-Target-Service", backend)} {
		a.want(t, 200, "", auth.Allowed)
		if got := a.Header().Get("X-Auth-Scopes"); got != "api:read" {
			t.Errorf("X-Auth-Scopes %q", got)
		}
	}

	f.edit(t, func(d *policy.Document) { d.Edges = d.Edges[:1] })
	validate("X-Target-Service", backend).want(t, 403, "untrusted_edge", auth.UntrustedEdge)
	validate().want(t, 200, "", auth.Allowed)

	f.edit(t, func(d *policy.Document) {
		delete(d.Services, gateway)
		d.Edges = nil
	})
	validate("X-Target-Service", backend).want(t, 403, "unknown_service", auth.UnknownService)
	validate().want(t, 403, "unknown_service", auth.UnknownService)
	f.form(t, gateway, "grant_type=client_credentials", nil).want(t, 401, "invalid_client", auth.UnknownKey)

	f.edit(t, func(d *policy.Document) { clear(d.Operators) })
	f.get(t, "/internal/auth/policy", f.operator(t)).want(t, 403, "unknown_service", auth.UnknownService)
}

// Reading goes on without the store, five minutes long; what rests on an admin scope a minute.
func TestWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ask := func(bearer, caller string) answer {
		return f.ask(t, bearer, "application/json", `[{"caller":"`+caller+`","target":"backend"}]`)
	}
	validate := func(bearer string, header ...string) answer {
		return f.get(t, "/internal/auth/validate", bearer, header...)
	}
	admin := []string{"X-Target-Service", auth.PlatformAudience, "X-Required-Scopes", "admin:read"}
	ask(f.operator(t), gateway).want(t, 200, "", "")
	for _, call := range []string{storetest.CallGet, storetest.CallQuery, storetest.CallCommit} {
		f.store.Fail(call, -1, store.ErrUnavailable)
	}

	f.Clock.Advance(59 * time.Second)
	ask(f.operator(t), gateway).want(t, 200, "", "")
	validate(f.operator(t), admin...).want(t, 200, "", auth.Allowed)

	f.Clock.Advance(time.Second)
	ask(f.operator(t), gateway).want(t, 503, "unavailable", auth.PolicyUnavailable)
	ask(f.Token(t, gateway, auth.PlatformAudience, auth.APIRead), gateway).want(t, 200, "", "")
	stale := validate(f.operator(t), admin...)
	stale.want(t, 503, "unavailable", auth.PolicyUnavailable)
	if stale.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	validate(f.operator(t)).want(t, 200, "", auth.Allowed)
	if got := validate(f.operator(t)).Header().Get("X-Auth-Scopes"); strings.Contains(got, "admin") {
		t.Errorf("X-Auth-Scopes %q", got)
	}
	assertion := url.Values{"grant_type": {grantJWTBearer}, "assertion": {f.idToken(t, nil)}}.Encode()
	f.form(t, "", assertion, nil).want(t, 503, "unavailable", auth.PolicyUnavailable)
	signed := f.form(t, gateway, "grant_type=client_credentials", nil)
	if signed.Code != 503 || signed.text("error") != "unavailable" || signed.text("error_description") == "" {
		t.Errorf("signed: %d %s", signed.Code, signed.Body)
	}

	bearer := f.Token(t, gateway, backend, auth.APIRead)
	f.Clock.Advance(239 * time.Second)
	validate(bearer, "X-Target-Service", backend).want(t, 200, "", auth.Allowed)
	f.Clock.Advance(time.Second)
	validate(bearer, "X-Target-Service", backend).want(t, 503, "unavailable", auth.PolicyUnavailable)
	health := f.call(t, httptest.NewRequest(http.MethodGet, "/internal/auth/health", nil))
	health.want(t, 503, "unavailable", "")
	if health.text("status") != "unavailable" || health.body["dependencies"] != nil || health.text("request_id") == "" {
		t.Errorf("health %s", health.Body)
	}
}

func TestNonceStoreOutOfReach(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.Fail(storetest.CallCommit, -1, store.ErrUnavailable)
	a := f.form(t, gateway, "grant_type=client_credentials", nil)
	a.want(t, 503, "unavailable", auth.NonceUnavailable)
	if a.text("error_description") == "" || a.Header().Get("Retry-After") == "" {
		t.Errorf("%v %s", a.Header(), a.Body)
	}
}
