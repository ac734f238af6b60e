package httpx_test

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// sink is a ResponseWriter that costs next to nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// What the edge costs a request whose handler does nothing, its access line included.
func BenchmarkWrap(b *testing.B) {
	for _, bench := range []struct {
		name   string
		header http.Header
	}{
		{"untraced", http.Header{}},
		{"traced", http.Header{"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			h := httpx.Wrap(httpx.Handle(func(w http.ResponseWriter, _ *http.Request) error {
				return httpx.WriteJSON(w, http.StatusOK, true)
			}), httpx.Options{
				Now: time.Now, Logger: telemetry.NewLogger(io.Discard, telemetry.LogOptions{Level: slog.LevelInfo, Service: "s"}),
			})
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://h/internal/things/1", http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			r.Header = bench.header
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}
