package httpx_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/isectech/service-networking/shared/platform/tracing"
)

// Where no spans are recorded, as in these tests, the caller's trace goes on all the same, and it costs little.
func TestTraceGoesOnUnrecorded(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, tt := range []struct{ name, given, want string }{
		{"traced", parent, parent},
		{"untraced", "", ""},
		{"hostile", parent + "\x00", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 1)
			other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- r.Header.Get("Traceparent")
			}))
			defer other.Close()
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			r.Header["Traceparent"] = []string{tt.given}
			var published string
			w, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) error {
				ctx, span := tracing.Start(r.Context(), "s", tracing.Internal)
				defer span.End()
				if tracing.On() || span.IsRecording() || span.SpanContext().IsValid() {
					t.Error("spans are recorded")
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, other.URL, http.NoBody)
				if err != nil {
					return err
				}
				res, err := tracing.Do(other.Client(), req)
				if err != nil {
					return err
				}
				ctx, event := tracing.Publish(ctx, tracing.Message{Destination: "t"})
				event.End()
				ctx, event = tracing.Process(ctx, "", tracing.Message{Destination: "t"})
				event.End()
				published = tracing.Traceparent(ctx)
				return res.Body.Close()
			}, r)
			if got := <-asked; w.Code != http.StatusOK || got != tt.want || published != tt.want {
				t.Errorf("%d %s, sent with a question: %q, with an event: %q", w.Code, w.Body, got, published)
			}
		})
	}
}

func TestTracingOffCostsNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	if n := testing.AllocsPerRun(100, func() {
		_, span, _ := tracing.Serve(r.Context(), r, "s")
		_, inner := tracing.Start(r.Context(), "inner", tracing.Internal)
		tracing.Fail(inner, "error")
		inner.End()
		tracing.Answered(span, r, http.StatusOK, 0)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	r.Header["Traceparent"] = []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	if n := testing.AllocsPerRun(100, func() { tracing.Serve(r.Context(), r, "s") }); n > 2 {
		t.Errorf("%v allocations to carry a trace on", n)
	}
}
