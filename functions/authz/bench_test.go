package authz

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// sink is a ResponseWriter that costs next to nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkValidateSeen is all that the function does for a token that it has seen before, without the server.
func BenchmarkValidateSeen(b *testing.B) {
	p := platformtest.New(b)
	s := New(Config{RateLimit: ratelimit.Limit{Requests: 1e9, Per: time.Minute}}, Deps{
		Store: p.Store, Secrets: p.Secrets, Now: p.Clock.Now, Metrics: telemetry.NewMetrics(),
		Logger: telemetry.NewLogger(io.Discard, telemetry.LogOptions{Service: Name}),
	})
	h := s.Handler()
	template, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://authz/internal/auth/validate", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	template.RequestURI, template.RemoteAddr = "/internal/auth/validate", "127.0.0.1:1024"
	template.Header.Set("Authorization", "Bearer "+p.Token(b, gateway, backend, auth.APIRead|auth.APIWrite))
	template.Header.Set(headerTargetService, backend)
	template.Header.Set(headerRequiredScopes, "api:read")
	w := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		r := *template
		h.ServeHTTP(w, &r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}
