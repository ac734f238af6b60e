package register

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// overFaulty is the function over a store that fails when told to.
type overFaulty struct {
	*platformtest.Platform
	store   *storetest.Faulty
	handler http.Handler
}

func newOverFaulty(t *testing.T) *overFaulty {
	t.Helper()
	p := platformtest.New(t)
	f := &overFaulty{Platform: p, store: storetest.NewFaulty(p.Store)}
	var cfg Config
	env := map[string]string{"TRUSTED_PROXY_MARKER": "the-marker-of-our-proxy", "REGISTRY_MAX_STALE": "1h"}
	if err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, &cfg); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Deps{Store: f.store, Now: p.Clock.Now, Logger: p.Logger(), Metrics: telemetry.NewMetrics()})
	if err != nil {
		t.Fatal(err)
	}
	f.handler = s.Handler()
	return f
}

func (f *overFaulty) call(t *testing.T, method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

const (
	aRegistration = `{"service_id":"backend-services-1","service_name":"backend","version":"1.0.0","environment":"production","lease":"0s",
		"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443}]}`
	endpointPath = "/internal/registry/services/backend/endpoints/api"
)

// Discovery outlives the store for as long as REGISTRY_MAX_STALE, with its age shown; writing does not.
func TestDiscoveryWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newOverFaulty(t)
	if w := f.call(t, http.MethodPost, "/internal/registry/register", aRegistration); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	f.Clock.Advance(time.Second)
	if w := f.call(t, http.MethodGet, endpointPath, ""); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, call := range []string{storetest.CallGet, storetest.CallGetAll, storetest.CallQuery, storetest.CallCommit, storetest.CallChanges} {
		f.store.Fail(call, -1, store.ErrUnavailable)
	}
	began := f.Clock.Now()
	for _, after := range []time.Duration{30 * time.Second, 61 * time.Second, 301 * time.Second, 59 * time.Minute} {
		f.Clock.Advance(after - f.Clock.Now().Sub(began))
		w := f.call(t, http.MethodGet, endpointPath, "")
		if w.Code != http.StatusOK {
			t.Errorf("after %v: %d %s", after, w.Code, w.Body)
		}
		if age, err := strconv.ParseFloat(w.Header().Get("X-Registry-Age"), 64); err != nil || age < after.Seconds()-2 {
			t.Errorf("after %v: X-Registry-Age %q", after, w.Header().Get("X-Registry-Age"))
		}
		w = f.call(t, http.MethodDelete, "/internal/registry/services/backend-services-1", "")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("a write after %v: %d %s", after, w.Code, w.Body)
		}
		if refused := strings.Contains(w.Body.String(), "policy_unavailable"); refused != (after >= time.Minute) {
			t.Errorf("a write after %v: %s", after, w.Body)
		}
	}
	f.Clock.Advance(2 * time.Minute)
	if w := f.call(t, http.MethodGet, endpointPath, ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("after an hour: %d %s", w.Code, w.Body)
	}
	health := f.call(t, http.MethodGet, "/internal/registry/health", "")
	var body struct{ Error, Message, RequestID, Timestamp string }
	if err := json.Unmarshal(health.Body.Bytes(), &body); err != nil || health.Code != http.StatusServiceUnavailable || body.Error != "unavailable" {
		t.Errorf("health after an hour: %d %s", health.Code, health.Body)
	}
}

// An endpoint has an entity tag like every other answer: the same choice is the same answer.
func TestEndpointTag(t *testing.T) {
	t.Parallel()
	f := newOverFaulty(t)
	for _, id := range []string{"backend-services-1", "backend-services-2"} {
		body := strings.Replace(aRegistration, "backend-services-1", id, 1)
		if w := f.call(t, http.MethodPost, "/internal/registry/register", body); w.Code != http.StatusCreated {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	f.Clock.Advance(time.Second)
	tags := map[string]string{} // by body
	for range 4 {
		w := f.call(t, http.MethodGet, endpointPath, "")
		tag := w.Header().Get("ETag")
		if w.Code != http.StatusOK || tag == "" {
			t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		if known, ok := tags[w.Body.String()]; ok && known != tag {
			t.Errorf("one answer has tags %s and %s", known, tag)
		}
		tags[w.Body.String()] = tag
	}
	if len(tags) != 2 {
		t.Errorf("%d answers of two instances", len(tags))
	}
	var all []string
	for _, tag := range tags {
		all = append(all, tag)
	}
	w := f.call(t, http.MethodGet, endpointPath, "", "If-None-Match", strings.Join(all, ", "))
	if w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("X-Registry-Index") == "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
