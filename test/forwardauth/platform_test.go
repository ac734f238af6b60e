package forwardauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

const (
	frontend = "isectech-frontend"
	gateway  = "isectech-api-gateway"
	backend  = "isectech-backend-services"
	marker   = "the-marker-of-our-proxy-0001"
)

// bench is what a proxy stands between: authz, and the two services of the examples, which show what they got.
type bench struct {
	*platformtest.Platform

	authz, backend, frontend *httptest.Server

	mu    sync.Mutex
	asked map[string]question // by request id: how authz was asked
	got   map[string]arrival  // by request id: what reached a service
}

// question is what a proxy asked authz.
type question struct {
	method, target string
	header         http.Header
	body           int
}

// arrival is a request that reached a service.
type arrival struct {
	Service, Method, Target, Host, Body string
	Header                              http.Header
}

// broken are the request ids that authz does not answer as it should.
var broken = map[string]http.HandlerFunc{
	"authz-limits": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	},
	"authz-is-unavailable": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
	},
	"authz-fails":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	"authz-redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	"authz-hangs":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"authz-breaks":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Platform: platformtest.New(t), asked: map[string]question{}, got: map[string]arrival{}}
	var cfg authz.Config
	env := map[string]string{"TRUSTED_PROXY_MARKER": marker}
	if err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, &cfg); err != nil {
		t.Fatal(err)
	}
	b.writePolicy(t)
	service := authz.New(cfg, authz.Deps{
		Store: b.Store, Secrets: b.Secrets, Now: b.Clock.Now, Logger: b.Logger(), Metrics: telemetry.NewMetrics(),
	})
	headers := httpx.Server(nil, b.Logger()).MaxHeaderBytes
	b.authz = serve(t, b.watch(service.Handler()), headers)
	b.backend, b.frontend = serve(t, b.service(backend), headers), serve(t, b.service(frontend), headers)
	return b
}

// serve serves as long as the test lasts, requests with headers up to a size.
func serve(t *testing.T, h http.Handler, headers int) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.MaxHeaderBytes = headers
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// writePolicy narrows what the gateway may ask of the backend.
func (b *bench) writePolicy(t *testing.T) {
	t.Helper()
	current, err := b.Store.Get(t.Context(), trust.PolicyRef)
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := policy.Parse(current.Data)
	if err != nil {
		t.Fatal(err)
	}
	doc.Edges = []policy.Edge{
		{Caller: gateway, Target: backend, Methods: []string{"GET", "HEAD"}, PathPrefixes: []string{"/orders"}},
		{Caller: gateway, Target: backend, Methods: []string{"POST"}, PathPrefixes: []string{"/orders/new"}},
		{Caller: gateway, Target: backend, Effect: policy.Deny, PathPrefixes: []string{"/orders/admin"}},
		{Caller: gateway, Target: frontend},
	}
	_, err = b.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: trust.PolicyRef, Data: doc, If: store.AtGeneration(current.Generation)},
		{Ref: trust.PolicyVersionRef(current.Generation + 1), Data: doc},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// watch notes how authz is asked, and lets it fail where a request's id says so.
func (b *bench) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		id := r.Header.Get("X-Request-Id")
		b.mu.Lock()
		b.asked[id] = question{r.Method, r.RequestURI, r.Header.Clone(), len(body)}
		b.mu.Unlock()
		if fail, ok := broken[id]; ok {
			fail(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// service answers with what it got.
func (b *bench) service(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a := arrival{name, r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone()}
		b.mu.Lock()
		b.got[r.Header.Get("X-Request-Id")] = a
		b.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	})
}

// reached returns what reached a service of a request, and how authz was asked about it.
func (b *bench) reached(id string) (a arrival, ok bool, q question) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok = b.got[id]
	return a, ok, b.asked[id]
}

// variables are what the examples leave open.
func (b *bench) variables(listen string) map[string]string {
	return map[string]string{
		"LISTEN": listen, "TRUSTED_PROXY_MARKER": marker,
		"AUTHZ_ADDRESS":    b.authz.Listener.Addr().String(),
		"BACKEND_ADDRESS":  b.backend.Listener.Addr().String(),
		"FRONTEND_ADDRESS": b.frontend.Listener.Addr().String(),
	}
}

// token returns an access token of the gateway for a target.
func (b *bench) token(t *testing.T, target string) string {
	t.Helper()
	return b.Token(t, gateway, target, auth.APIRead|auth.APIWrite)
}

// operate has an operator tell authz something.
func (b *bench) operate(t *testing.T, path, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.authz.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+b.Token(t, "operator:"+platformtest.Operator, auth.PlatformAudience, auth.AdminRead|auth.AdminWrite))
	res, err := b.authz.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode > 299 {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("%s: %d %s", path, res.StatusCode, text)
	}
}

// freeAddress returns an address that nobody listened at a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// fill puts values into the ${…} of an example, as envsubst does when it is told which there are.
func fill(text string, values map[string]string) string {
	for name, value := range values {
		text = strings.ReplaceAll(text, fmt.Sprintf("${%s}", name), value)
	}
	return text
}
