package tracing_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/tracing"
)

// recorded is where all spans of these tests go. A test finds its own by their trace.
var recorded = tracetest.NewInMemoryExporter()

func TestMain(m *testing.M) {
	tracing.Install(sdk.NewTracerProvider(sdk.WithSyncer(recorded)))
	os.Exit(m.Run())
}

// traceOf returns a traceparent that nobody else has, and its trace's id.
func traceOf() (header, id string) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	id = hex.EncodeToString(b[:])
	return "00-" + id + "-" + spanID + "-01", id
}

// told is what a test compares of a span.
type told struct {
	Name, Kind, Parent string // the parent's name
	Attributes         map[string]string
	Failed             bool
	Links              int
}

// spans returns the recorded spans of a trace in the order that they ended in.
func spans(id string) []told {
	var found []told
	all := recorded.GetSpans()
	for _, s := range all {
		if s.SpanContext.TraceID().String() != id {
			continue
		}
		one := told{Name: s.Name, Kind: s.SpanKind.String(), Parent: "?", Attributes: map[string]string{}, Failed: s.Status.Code == codes.Error, Links: len(s.Links)}
		for _, p := range all {
			if p.SpanContext.SpanID() == s.Parent.SpanID() {
				one.Parent = p.Name
			}
		}
		if s.Parent.SpanID().String() == spanID {
			one.Parent = "the caller"
		}
		for _, a := range s.Attributes {
			one.Attributes[string(a.Key)] = a.Value.String()
		}
		found = append(found, one)
	}
	return found
}

func serve(t *testing.T, service string, h httpx.HandlerFunc, log io.Writer) *httptest.Server {
	t.Helper()
	mux := httpx.NewMux()
	mux.Handle("GET /internal/things/{id}", h)
	mux.Handle("GET /internal/auth/validate", h)
	server := httptest.NewServer(httpx.Wrap(mux, httpx.Options{
		Now: time.Now, Service: service, Logger: telemetry.NewLogger(log, telemetry.LogOptions{Service: service}),
	}))
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, url, traceparent string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", traceparent)
	req.Header.Set("User-Agent", "test")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// One trace leads from a request through the question that it makes, and through the event that it causes, to
// what handles each.
func TestFromRequestToHandlers(t *testing.T) {
	t.Parallel()
	header, id := traceOf()
	var log strings.Builder
	authz := serve(t, "isectech-authz", func(w http.ResponseWriter, r *http.Request) error {
		_, span := tracing.Start(r.Context(), "judge", tracing.Internal)
		defer span.End()
		return httpx.WriteJSON(w, http.StatusOK, map[string]any{"valid": true, "service_name": "isectech-frontend", "scopes": []string{"api:read"}})
	}, io.Discard)
	asker, err := guard.NewAuthz(authz.URL, config.NewSecret("a marker of some length"), auth.Production)
	if err != nil {
		t.Fatal(err)
	}
	var published string
	register := serve(t, "isectech-register", func(w http.ResponseWriter, r *http.Request) error {
		p, err := asker.VerifySignature(r.Context(), authn.Signed{})
		if err != nil {
			return err
		}
		tracing.Annotate(r.Context(), tracing.Principal(p)...)
		ctx, span := tracing.Publish(r.Context(), tracing.Message{
			System: "gcp_pubsub", Destination: "isectech-registry-changes", Size: 2,
			Event: tracing.CloudEvent{ID: "frontend-001@1", Type: "com.isectech.registry.registered.v1"},
		})
		defer span.End()
		published = tracing.Traceparent(ctx)
		return httpx.WriteJSON(w, http.StatusOK, true)
	}, &log)
	if status := get(t, register.URL+"/internal/things/1?token=hunter2", header); status != 200 {
		t.Fatal(status)
	}
	ctx := telemetry.WithRequest(t.Context(), telemetry.Request{ID: "r", Trace: "other"})
	ctx, span := tracing.Process(ctx, published, tracing.Message{Destination: "RegistryChanged", Attempt: 2})
	telemetry.NewLogger(&log, telemetry.LogOptions{}).InfoContext(ctx, "handled")
	tracing.Fail(span, "poison")
	span.End()

	got := spans(id)
	address := strings.TrimPrefix(authz.URL, "http://")
	want := []told{
		{Name: "GET", Kind: "client", Parent: "GET /internal/things/{id}", Attributes: map[string]string{
			"http.request.method": "GET", "server.address": "127.0.0.1", "url.full": "http://" + address + "/internal/auth/validate",
			"http.response.status_code": "200", "service.name": "isectech-register",
		}},
		{Name: "GET /internal/auth/validate", Kind: "server", Parent: "GET", Attributes: map[string]string{
			"http.request.method": "GET", "url.scheme": "http", "url.path": "/internal/auth/validate", "http.route": "/internal/auth/validate",
			"user_agent.original": "Go-http-client/1.1", "http.response.status_code": "200", "http.response.body.size": "72", "service.name": "isectech-authz",
		}},
		{Name: "GET /internal/things/{id}", Kind: "server", Parent: "the caller", Attributes: map[string]string{
			"http.request.method": "GET", "url.scheme": "http", "url.path": "/internal/things/1", "http.route": "/internal/things/{id}",
			"user_agent.original": "test", "http.response.status_code": "200", "http.response.body.size": "5", "service.name": "isectech-register",
			"auth.method": "api_key", "auth.scopes.count": "1", "service.peer.name": "isectech-frontend",
		}},
		{Name: "judge", Kind: "internal", Parent: "GET /internal/auth/validate", Attributes: map[string]string{"service.name": "isectech-authz"}},
		{Name: "process RegistryChanged", Kind: "consumer", Parent: "send isectech-registry-changes", Failed: true, Attributes: map[string]string{
			"messaging.operation.name": "process", "messaging.operation.type": "process", "messaging.message.body.size": "0",
			"messaging.destination.name": "RegistryChanged", "messaging.gcp_pubsub.message.delivery_attempt": "2", "error.type": "poison",
		}},
		{Name: "send isectech-registry-changes", Kind: "producer", Parent: "GET /internal/things/{id}", Attributes: map[string]string{
			"messaging.operation.name": "send", "messaging.operation.type": "send", "messaging.message.body.size": "2", "messaging.system": "gcp_pubsub",
			"messaging.destination.name": "isectech-registry-changes", "cloudevents.event_id": "frontend-001@1",
			"cloudevents.event_type": "com.isectech.registry.registered.v1", "service.name": "isectech-register",
		}},
	}
	inOrder := func(a, b told) int { return strings.Compare(a.Name+" "+a.Kind, b.Name+" "+b.Kind) }
	slices.SortFunc(got, inOrder)
	slices.SortFunc(want, inOrder)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"logging.googleapis.com/trace":"`+id+`"`) || strings.Contains(line, spanID) {
			t.Errorf("a line is of another trace, or of the caller's span: %s", line)
		}
	}
}

// An event that is delivered in one trace and was caused in another belongs to the one that caused it, and
// knows the other.
func TestProcessLinksTheDelivery(t *testing.T) {
	t.Parallel()
	delivery, deliveryID := traceOf()
	cause, causeID := traceOf()
	ctx, _ := tracing.FromHeaders(t.Context(), http.Header{"Traceparent": {delivery}})
	for _, event := range []string{cause, "malformed"} {
		_, span := tracing.Process(ctx, event, tracing.Message{Destination: "F"})
		span.End()
	}
	if got := spans(causeID); len(got) != 1 || got[0].Links != 1 || got[0].Parent != "the caller" {
		t.Errorf("%+v", got)
	}
	if got := spans(deliveryID); len(got) != 1 || got[0].Links != 0 {
		t.Errorf("%+v", got)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	header, id := traceOf()
	secret := errors.New("secret detail")
	server := serve(t, "s", func(_ http.ResponseWriter, r *http.Request) error {
		switch r.PathValue("id") {
		case "panic":
			panic("secret detail")
		case "abort":
			panic(http.ErrAbortHandler)
		}
		return secret
	}, io.Discard)
	for _, path := range []string{"/internal/things/error", "/internal/things/panic", "/nowhere"} {
		get(t, server.URL+path, header)
	}
	req := httptest.NewRequest(http.MethodGet, "/internal/things/abort", http.NoBody)
	req.Header.Set("Traceparent", header)
	func() {
		defer func() { _ = recover() }()
		server.Config.Handler.ServeHTTP(httptest.NewRecorder(), req)
	}()
	ctx, _ := tracing.FromHeaders(t.Context(), http.Header{"Traceparent": {header}})
	refused, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1/?token=hunter2", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := tracing.Do(http.DefaultClient, refused); err == nil {
		_ = res.Body.Close()
		t.Error("something answers at port 1")
	}
	var got []string
	for _, s := range spans(id) {
		state := "ok"
		if s.Failed {
			state = s.Attributes["error.type"]
		}
		got = append(got, s.Name+" "+s.Attributes["http.response.status_code"]+" "+state)
	}
	want := []string{
		"GET /internal/things/{id} 500 500", "GET /internal/things/{id} 500 500", "GET 404 ok", "GET  ok", "GET  unreachable",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What a caller chooses is bounded, and a credential in the wrong place does not leave by a span.
func TestAttributesAreBounded(t *testing.T) {
	t.Parallel()
	header, id := traceOf()
	const credential = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"
	h := httpx.Wrap(httpx.NewMux(), httpx.Options{Now: time.Now, Service: "s"})
	r := httptest.NewRequest(http.MethodGet, "/"+credential+"/"+strings.Repeat("a", 5000)+"?access_token="+credential, http.NoBody)
	r.Method = strings.Repeat("M", 5000)
	r.Header = http.Header{
		"Traceparent": {header}, "User-Agent": {strings.Repeat("ü", 1000) + "\xff\x00"}, "Authorization": {"Bearer " + credential},
		"Cookie": {credential}, "X-Request-Id": {"r1"}, "Baggage": {"a=" + credential},
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	ctx, _ := tracing.FromHeaders(t.Context(), r.Header)
	_, span := tracing.Process(ctx, header, tracing.Message{
		Destination: "F", ID: strings.Repeat("i", 5000), Event: tracing.CloudEvent{Subject: "Bearer abcdefghijkl", Type: credential, Source: "\xff"},
	})
	operator := auth.Principal{Subject: auth.MustSubject("operator:someone@isectech.com"), Method: auth.MethodJWT}
	span.SetAttributes(tracing.Principal(operator)...)
	span.End()
	got := spans(id)
	if len(got) != 2 || got[0].Name != "HTTP" || got[0].Attributes["http.request.method"] != "_OTHER" {
		t.Fatalf("%+v", got)
	}
	for _, s := range got {
		for key, value := range s.Attributes {
			if len(value) > 260 || !utf8.ValidString(value) || strings.Contains(value, "eyJ") || strings.Contains(value, "abcdefgh") || strings.Contains(value, "someone") {
				t.Errorf("%s: %q", key, value)
			}
		}
	}
}

func TestConfigure(t *testing.T) { //nolint:paralleltest // it sets what the binary is linked with
	env := func(pairs ...string) tracing.Environment {
		return tracing.Environment{Lookup: func(name string) (string, bool) {
			i := slices.Index(pairs, name)
			if i < 0 {
				return "", false
			}
			return pairs[i+1], true
		}, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Console: io.Discard}
	}
	t.Cleanup(tracing.Unlink())
	stop, err := tracing.Configure(t.Context(), env())
	if err != nil || stop(t.Context()) != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, value, want string }{
		{"OTEL_TRACES_EXPORTER", "otlp", "config: OTEL_TRACES_EXPORTER: otlp: this binary was linked without exporters"},
		{"OTEL_TRACES_EXPORTER", "jaeger", `config: OTEL_TRACES_EXPORTER: "jaeger": want none, otlp or console`},
		{"OTEL_TRACES_SAMPLER", "some", `config: OTEL_TRACES_SAMPLER: "some": want always_on, always_off, traceidratio, or one of them after parentbased_`},
		{"OTEL_TRACES_SAMPLER_ARG", "1.1", "config: OTEL_TRACES_SAMPLER_ARG: 1.1 is not between 0 and 1"},
		{"OTEL_TRACES_SAMPLER_ARG", "NaN", "config: OTEL_TRACES_SAMPLER_ARG: NaN is not between 0 and 1"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "config: OTEL_EXPORTER_OTLP_ENDPOINT: want a URL that starts with https:// or http://"},
	} {
		if _, err := tracing.Configure(t.Context(), env(tt.name, tt.value)); err == nil || err.Error() != tt.want {
			t.Errorf("%s=%s: %v, want %s", tt.name, tt.value, err, tt.want)
		}
	}
	var got tracing.Config
	tracing.Link(func(_ context.Context, c tracing.Config, _ tracing.Environment) (func(context.Context) error, error) {
		got = c
		return func(context.Context) error { return nil }, nil
	})
	if _, err := tracing.Configure(t.Context(), env("OTEL_TRACES_EXPORTER", "stdout", "OTEL_TRACES_SAMPLER", "always_off", "OTEL_TRACES_SAMPLER_ARG", "0.25")); err != nil {
		t.Fatal(err)
	}
	if got.Exporter != tracing.Console || got.Sampler != tracing.AlwaysOff || got.SamplerArg != 0.25 || got.Endpoint.String() != "http://localhost:4318" {
		t.Errorf("%+v", got)
	}
}
