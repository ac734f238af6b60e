package telemetry_test

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/telemetry"
)

func exposition(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
	return w.Body.String()
}

// The names and labels are what alerts and dashboards are written against.
func TestMetricsGolden(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	s := m.ForService("isectech-authz")
	s.ObserveRequest("POST", 200, 3*time.Millisecond)
	s.AuthAttempt("jwt", "allowed")
	s.AuthAttempt("api_key", "replayed")
	s.DiscoveryQuery("hit")
	s.TLSHandshake(2 * time.Millisecond)
	m.CertificateExpiry("isectech-frontend", "client", 36*time.Hour)
	m.SetUp("isectech-register", true)
	m.SetUp("isectech-frontend", false)
	m.Succeeded("certificates", time.UnixMilli(1735992000500))
	m.RedisCall("get", "open")

	var got strings.Builder
	for line := range strings.Lines(exposition(t, m)) {
		if !strings.Contains(line, "_bucket{") {
			got.WriteString(line)
		}
	}
	path := filepath.Join("testdata", "metrics.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Error(d)
	}
}

// What a caller can choose must not make a new series each time.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	s := m.ForService("s")
	for i := range 100 {
		s.ObserveRequest(fmt.Sprint("M", i), 1000+i, 0)
		s.AuthAttempt(fmt.Sprint("method", i), fmt.Sprint("result ", i))
		s.AuthAttempt("", "")
		s.AuthAttempt("jwt", strings.Repeat("a", 33+i))
		s.DiscoveryQuery(fmt.Sprint("result", i))
		m.CertificateExpiry("s", fmt.Sprint("type", i), 0)
	}
	for name, want := range map[string]int{
		"http_requests_total": 1, "service_auth_attempts_total": 2, "service_discovery_queries_total": 1, "certificate_expiry_days": 1,
	} {
		if got := strings.Count(exposition(t, m), "\n"+name+"{"); got != want {
			t.Errorf("%s has %d series, want %d", name, got, want)
		}
	}
}

func TestNilServiceMetricsCountNothing(t *testing.T) {
	t.Parallel()
	var s *telemetry.ServiceMetrics
	s.ObserveRequest("GET", 200, 0)
	s.AuthAttempt("jwt", "allowed")
	s.DiscoveryQuery("hit")
	s.TLSHandshake(0)
}
