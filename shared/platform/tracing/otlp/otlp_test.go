package otlp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/tracing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func environment(env map[string]string, console io.Writer) tracing.Environment {
	return tracing.Environment{
		Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Now:    time.Now, Logger: slog.New(slog.DiscardHandler), Console: console, Service: "isectech-test",
	}
}

// answer is a ResponseWriter that knows what had been exported when it was written to.
type answer struct {
	httptest.ResponseRecorder
	exported func() string
	before   string
}

func (a *answer) WriteHeader(status int) {
	a.before = a.exported()
	a.ResponseRecorder.WriteHeader(status)
}

// This test, and no other, goes through the provider of the process.
func TestFromConfigurationToCollector(t *testing.T) { //nolint:paralleltest // the provider is the process's
	var mu sync.Mutex
	var received bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		received.WriteString(r.URL.Path + "\n")
		_, _ = io.Copy(&received, r.Body)
	}))
	defer collector.Close()
	exported := func() string {
		mu.Lock()
		defer mu.Unlock()
		return received.String()
	}
	handler := httpx.Wrap(httpx.Handle(func(_ http.ResponseWriter, r *http.Request) error {
		_, span := tracing.Start(r.Context(), "inner", tracing.Internal)
		span.End()
		if r.URL.Path == "/internal/x" && exported() != "" {
			t.Error("a span was exported before the request ended")
		}
		return nil
	}), httpx.Options{Now: time.Now, Service: "isectech-function"})

	stop, err := tracing.Configure(t.Context(), environment(map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL + "/base",
		"ENVIRONMENT": "staging", "K_SERVICE": "isectech-register", "K_REVISION": "r-1",
	}, nil))
	if err != nil {
		t.Fatal(err)
	}
	w := &answer{ResponseRecorder: *httptest.NewRecorder(), exported: exported}
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/internal/x", http.NoBody))
	for _, want := range []string{"/base/v1/traces", "inner", "GET", "/internal/x", "isectech-function", "isectech-test", "staging", "isectech-register", "r-1"} {
		if !strings.Contains(w.before, want) {
			t.Errorf("when the answer was sent, %q had not been exported: %q", want, w.before)
		}
	}
	// Not sampled by the caller: not recorded.
	r := httptest.NewRequest(http.MethodGet, "/quiet", http.NoBody)
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	handler.ServeHTTP(httptest.NewRecorder(), r)
	// What no answer waits for is exported when the process ends, that of Google's clients included.
	_, span := otel.Tracer("google").Start(t.Context(), "left over")
	span.End()
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := exported(); !strings.Contains(got, "left over") || strings.Contains(got, "/quiet") {
		t.Errorf("exported in the end: %q", got)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()

	var console bytes.Buffer
	if stop, err = tracing.Configure(t.Context(), environment(map[string]string{"OTEL_TRACES_EXPORTER": "console"}, &console)); err != nil {
		t.Fatal(err)
	}
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/internal/y", http.NoBody))
	if lines := strings.Count(console.String(), "\n"); lines != 2 || !strings.Contains(console.String(), "/internal/y") {
		t.Errorf("%d lines on the console, want one a span: %s", lines, &console)
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSampler(t *testing.T) {
	t.Parallel()
	caller := func(sampled bool) context.Context {
		return trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{0xff, 0xff, 8: 0xff, 9: 0xff}, SpanID: trace.SpanID{1}, TraceFlags: trace.TraceFlags(0).WithSampled(sampled), Remote: true,
		}))
	}
	for _, tt := range []struct {
		sampler       tracing.Sampler
		arg           tracing.Probability
		none, no, yes bool // sampled where the caller says nothing, no, yes
	}{
		{tracing.AlwaysOn, 0, true, true, true},
		{tracing.AlwaysOff, 1, false, false, false},
		{tracing.TraceIDRatio, 1, true, true, true},
		{tracing.TraceIDRatio, 0, false, false, false},
		{tracing.ParentBasedAlwaysOn, 0, true, false, true},
		{tracing.ParentBasedAlwaysOff, 1, false, false, true},
		{tracing.ParentBasedTraceIDRatio, 1, true, false, true},
		{tracing.ParentBasedTraceIDRatio, 0, false, false, true},
	} {
		provider := sdk.NewTracerProvider(sdk.WithSampler(samplerOf(tracing.Config{Sampler: tt.sampler, SamplerArg: tt.arg})))
		for i, ctx := range []context.Context{t.Context(), caller(false), caller(true)} {
			_, span := provider.Tracer("").Start(ctx, "s")
			if want := []bool{tt.none, tt.no, tt.yes}[i]; span.SpanContext().IsSampled() != want {
				t.Errorf("%s %v, caller %d: sampled %v", tt.sampler, tt.arg, i, !want)
			}
		}
	}
}

// fragile is an exporter that can be broken.
type fragile struct {
	*tracetest.InMemoryExporter
	mu     sync.Mutex
	broken bool
	calls  int
}

func (f *fragile) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.broken {
		return errors.New("no collector")
	}
	return f.InMemoryExporter.ExportSpans(ctx, spans)
}

func (f *fragile) set(broken bool) (calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = broken
	return f.calls
}

// While there is no collector, one answer in a while waits for it, and one line says so.
func TestAnswersDoNotWaitForABrokenCollector(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	now := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	e := &fragile{InMemoryExporter: tracetest.NewInMemoryExporter(), broken: true}
	p := newPrompt(e, func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(p))
	defer func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) }()
	request := func() {
		ctx, span := provider.Tracer("").Start(t.Context(), "r", trace.WithSpanKind(trace.SpanKindServer))
		_, child := provider.Tracer("").Start(ctx, "c", trace.WithSpanKind(trace.SpanKindClient))
		child.End()
		span.End()
	}
	for range 10 {
		request()
	}
	if calls := e.set(false); calls != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d exports, log: %s", calls, &log)
	}
	now = now.Add(pause)
	request()
	if calls := e.set(false); calls != 2 || len(e.GetSpans()) != 20 { // what was not tried is not lost
		t.Errorf("%d exports of %d spans", calls, len(e.GetSpans()))
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	valid := trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}
	local, remote := trace.NewSpanContext(valid), trace.NewSpanContext(valid).WithRemote(true)
	for _, tt := range []struct {
		kind   trace.SpanKind
		parent trace.SpanContext
		want   bool
	}{
		{trace.SpanKindServer, trace.SpanContext{}, true},
		{trace.SpanKindServer, remote, true},
		{trace.SpanKindServer, local, false},
		{trace.SpanKindConsumer, remote, true},
		{trace.SpanKindClient, trace.SpanContext{}, false},
		{trace.SpanKindInternal, remote, false},
	} {
		if got := first(tracetest.SpanStub{SpanKind: tt.kind, Parent: tt.parent}.Snapshot()); got != tt.want {
			t.Errorf("%v below %v: %v", tt.kind, tt.parent, got)
		}
	}
}
