// Package contract runs authz and register as one platform on a loopback listener, over embedded back ends
// and a clock that tests move, and asks them what clients ask: over HTTP, as the contract has it.
package contract

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Marker proves a hop to the platform.
const Marker = "a-marker-for-tests-alone"

// Platform is the platform behind one address.
type Platform struct {
	*platformtest.Platform
	URL       string
	Register  *register.Service
	Published *eventstest.Recorder
	handler   http.Handler
}

// Start starts a platform that lasts as long as the test. Its authorizer exchanges no ID tokens.
func Start(t *testing.T) *Platform {
	t.Helper()
	p := &Platform{Platform: platformtest.New(t), Published: new(eventstest.Recorder)}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.URL, p.handler = server.URL, mux

	var authzConfig authz.Config
	var registerConfig register.Config
	load(t, p.URL, &authzConfig)
	load(t, p.URL, &registerConfig)
	metrics := telemetry.NewMetrics()
	authorizer := authz.New(authzConfig, authz.Deps{
		Store: p.Store, Secrets: p.Secrets, Now: p.Clock.Now, Logger: p.Logger(), Metrics: metrics, Publisher: p.Published,
	})
	registrar, err := register.New(registerConfig, register.Deps{
		Store: p.Store, Now: p.Clock.Now, Logger: p.Logger(), Metrics: metrics, Publisher: p.Published,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Register = registrar
	mux.Handle("/internal/registry/", registrar.Handler())
	mux.Handle("/", authorizer.Handler())
	return p
}

func load(t *testing.T, url string, cfg any) {
	t.Helper()
	env := map[string]string{
		"AUTHZ_URL": url, "TRUSTED_PROXY_MARKER": Marker, "ALLOW_LOG_RATE": "1", "ALLOW_LOOPBACK": "true",
	}
	if err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, cfg); err != nil {
		t.Fatal(err)
	}
}

// Request is one call.
type Request struct {
	Method string // GET unless said
	Path   string // with its query
	Token  string // of the Authorization header
	Sign   string // service whose API key signs the request
	Body   string
	Type   string // of the body: JSON unless said
	Header http.Header
	Edit   func(*http.Request) // the last touch, after signing
	Client *http.Client        // who connects: anyone unless said
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   map[string]any
	Text   string
}

// Do makes a call.
func (p *Platform) Do(t *testing.T, r Request) Answer {
	t.Helper()
	var sign Sign
	if r.Sign != "" {
		sign = p.APIKey(t, r.Sign).SignHTTP
	}
	a, err := Send(t.Context(), p.URL, r, sign)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Sign signs a request with a body.
type Sign func(r *http.Request, body []byte) error

// Send makes a call to the platform at url; sign, where there is one, signs it.
func Send(ctx context.Context, url string, r Request, sign Sign) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.Method, http.MethodGet), url+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return Answer{}, err
	}
	if r.Body != "" {
		req.Header.Set("Content-Type", cmp.Or(r.Type, "application/json"))
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if sign != nil {
		if err := sign(req, []byte(r.Body)); err != nil {
			return Answer{}, err
		}
	}
	if r.Edit != nil {
		r.Edit(req)
	}
	res, err := cmp.Or(r.Client, http.DefaultClient).Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: res.StatusCode, Header: res.Header, Text: string(text)}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		if err := json.Unmarshal(text, &a.Body); err != nil {
			return a, fmt.Errorf("%s %s: %w in %s", req.Method, r.Path, err, text)
		}
	}
	return a, nil
}

// String returns a member of the body that is a string.
func (a Answer) String(name string) string {
	s, _ := a.Body[name].(string)
	return s
}

// Want checks status, error code and reason; "" is not looked at.
func (a Answer) Want(t testing.TB, status int, code, reason string) {
	t.Helper()
	if a.Status != status || code != "" && a.String("error") != code || reason != "" && a.String("reason") != reason {
		t.Fatalf("got %d %s %s, want %d %s %s\n%s", a.Status, a.String("error"), a.String("reason"), status, code, reason, a.Text)
	}
	if status >= http.StatusBadRequest {
		for _, name := range []string{"error", "message", "request_id", "timestamp"} {
			if a.String(name) == "" {
				t.Errorf("the error has no %s: %s", name, a.Text)
			}
		}
		if a.String("request_id") != a.Header.Get("X-Request-ID") {
			t.Errorf("request_id %s is not that of the header, %s", a.String("request_id"), a.Header.Get("X-Request-ID"))
		}
	}
	if status == http.StatusUnauthorized && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("401 without a challenge: %q", a.Header.Get("WWW-Authenticate"))
	}
}

// The tokens that most tests call with.

// Discover returns a service's token for the platform.
func (p *Platform) Discover(t *testing.T, service string) string {
	return p.Token(t, service, auth.PlatformAudience, auth.ServiceDiscover)
}

// Operator returns an operator's token.
func (p *Platform) Operator(t *testing.T) string {
	return p.Token(t, "operator:"+platformtest.Operator, auth.PlatformAudience,
		auth.AdminRead|auth.AdminWrite|auth.ServiceDiscover|auth.MetricsRead)
}
