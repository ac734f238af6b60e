package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/telemetry"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// record logs one line at a fixed time and returns it.
func record(ctx context.Context, t *testing.T, h slog.Handler, out *bytes.Buffer, level slog.Level, msg string, attrs ...slog.Attr) string {
	t.Helper()
	out.Reset()
	r := slog.NewRecord(time.Date(2025, 1, 4, 13, 0, 0, 120e6, time.FixedZone("", 3600)), level, msg, 0)
	r.AddAttrs(attrs...)
	if err := h.Handle(ctx, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestLogLineGolden(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := telemetry.NewLogger(&out, telemetry.LogOptions{Service: "backend-services", Project: "isectech-prod"})
	ctx := telemetry.WithRequest(t.Context(), telemetry.Request{
		ID: "req-12345", Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Span: "00f067aa0ba902b7",
	})
	telemetry.Annotate(ctx, slog.String("auth_method", "jwt"), slog.String("service_name", "api-gateway"),
		slog.Any("scopes", []string{"api:read", "api:write"}))

	var lines strings.Builder
	lines.WriteString(record(ctx, t, logger.Handler(), &out, slog.LevelInfo, "Service authentication successful", slog.Float64("duration_ms", 45)))
	lines.WriteString(record(ctx, t, logger.With("service", "isectech-authz").Handler(), &out, slog.LevelWarn, "a closer service counts"))
	lines.WriteString(record(t.Context(), t, logger.Handler(), &out, slog.LevelError, "no request <here> & now", slog.Any("err", errors.New("boom"))))
	lines.WriteString(record(t.Context(), t, logger.Handler(), &out, telemetry.LevelCritical, "critical"))
	lines.WriteString(record(t.Context(), t, logger.Handler(), &out, slog.LevelDebug, "debug"))
	lines.WriteString(record(ctx, t, logger.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Handler(), &out, slog.LevelInfo, "groups",
		slog.Int("c", 3), slog.String("token", "hunter2"), slog.Int("service", 4)))
	lines.WriteString(record(ctx, t, logger.Handler(), &out, slog.LevelInfo, "names that are taken",
		slog.String("level", "x"), slog.String("message", "x"), slog.String("msg", "x"), slog.String("time", "x"),
		slog.String("severity", "x"), slog.String("request_id", "own"), slog.Group("", slog.Int("inlined", 1)), slog.Int("inlined", 2)))

	path := filepath.Join("testdata", "lines.golden")
	if *update {
		if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), lines.String()); d != "" {
		t.Error(d)
	}
	for line := range strings.Lines(lines.String()) {
		noNameTwice(t, line)
	}
}

// noNameTwice fails when a JSON object has a name twice.
func noNameTwice(t *testing.T, line string) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(line))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		if names[name.(string)] {
			t.Errorf("%v occurs twice in %s", name, line)
		}
		names[name.(string)] = true
		var value any
		if err := dec.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
}

type credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// own encodes itself into something that is no JSON.
type own struct{}

func (own) MarshalJSON() ([]byte, error) { return []byte(`{"token":`), nil }

func TestCredentialsAreMasked(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2"
	jwt := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0." + secret
	tests := []struct {
		name string
		attr slog.Attr
		want string // what the line must hold
	}{
		{"authorization", slog.String("Authorization", secret), `"Authorization":"[masked]"`},
		{"api key", slog.String("x-api-key", secret), `"x-api-key":"[masked]"`},
		{"nonce", slog.String("X-API-Nonce", secret), `"X-API-Nonce":"[masked]"`},
		{"ending", slog.String("refresh_token", secret), `"refresh_token":"[masked]"`},
		{"bytes", slog.Any("private_key", []byte(secret)), `"private_key":"[masked]"`},
		{"marker", slog.String("X-ISECTECH-Proxy-Marker", secret), `"[masked]"`},
		{"database", slog.String("DATABASE_URL", "postgres://u:"+secret+"@h/d"), `"DATABASE_URL":"[masked]"`},
		{"empty stays empty", slog.String("token", ""), `"token":""`},
		{"in a group", slog.Group("g", slog.String("secret", secret)), `"secret":"[masked]"`},
		{"in headers", slog.Any("headers", http.Header{"Cookie": {secret}, "Accept": {"x"}}), `"headers":{"Accept":["x"],"Cookie":"[masked]"}`},
		{"in a struct", slog.Any("login", &credentials{"u", secret}), `"login":{"password":"[masked]","user":"u"}`},
		{"in a map in a list", slog.Any("all", []any{map[string]any{"client-secret": secret}}), `"client-secret":"[masked]"`},
		{"token in text", slog.String("note", "got "+jwt+" from x"), `"note":"got [masked] from x"`},
		{"bearer in text", slog.String("note", "header was bearer "+secret), `"note":"header was [masked]"`},
		{"token in an error", slog.Any("err", errors.New("bad token "+jwt)), `"err":"bad token [masked]"`},
		{"token in strings", slog.Any("args", []string{"a", jwt}), `"args":["a","[masked]"]`},
		{"private key in text", slog.String("note", "-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----\nrest"), `"note":"[masked]\nrest"`},
		{"private key cut off", slog.String("note", "-----BEGIN EC PRIVATE KEY-----\n"+secret), `"note":"[masked]"`},
		{"what cannot be encoded", slog.Any("f", struct{ C chan int }{}), `"f":"{C:\u003cnil\u003e}"`},
		{"a broken encoder", slog.Any("o", own{}), `"o":"`},
		{"key id is no key", slog.String("api_key_id", "k2"), `"api_key_id":"k2"`},
		{"token id is no token", slog.String("token_id", "abc"), `"token_id":"abc"`},
		{"reason", slog.String("reason", "nonce_unavailable"), `"reason":"nonce_unavailable"`},
		{"bearer is a word", slog.String("note", "the bearer of this"), `"note":"the bearer of this"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			line := record(t.Context(), t, telemetry.NewLogger(&out, telemetry.LogOptions{}).Handler(), &out, slog.LevelInfo, "x", tt.attr)
			if strings.Contains(line, secret) {
				t.Errorf("the secret shows: %s", line)
			}
			if !strings.Contains(strings.ReplaceAll(line, "<nil>", `\u003cnil\u003e`), tt.want) {
				t.Errorf("%s does not hold %s", line, tt.want)
			}
		})
	}
	var out bytes.Buffer
	line := record(t.Context(), t, telemetry.NewLogger(&out, telemetry.LogOptions{}).Handler(), &out, slog.LevelInfo, "message with "+jwt)
	if strings.Contains(line, secret) {
		t.Errorf("the message shows the secret: %s", line)
	}
}

func TestLevel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	logger := telemetry.NewLogger(&out, telemetry.LogOptions{Level: &level})
	logger.Info("hidden")
	logger.Warn("shown")
	if got := strings.Count(out.String(), "\n"); got != 1 || !strings.Contains(out.String(), "shown") {
		t.Errorf("wrote %q", out.String())
	}
}

// Attributes may be added while other goroutines of the request log.
func TestAnnotateConcurrently(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := telemetry.NewLogger(&out, telemetry.LogOptions{})
	ctx := telemetry.WithRequest(t.Context(), telemetry.Request{ID: "r"})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				telemetry.Annotate(ctx, slog.Int("n", i), slog.Int("m", i))
				logger.With("w", i).InfoContext(ctx, "x")
			}
		})
	}
	wg.Wait()
	lines := 0
	for line := range strings.Lines(out.String()) {
		lines++
		noNameTwice(t, line)
	}
	if lines != 8*50 {
		t.Errorf("%d lines", lines)
	}
	telemetry.Annotate(context.Background(), slog.Int("n", 1)) // no request: nothing happens
	if got := telemetry.RequestOf(context.Background()); got != (telemetry.Request{}) {
		t.Errorf("request of a bare context is %v", got)
	}
}

// Loggers made from one another must not share the attributes they add.
func TestWithDoesNotAlias(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	base := telemetry.NewLogger(&out, telemetry.LogOptions{Service: "s"}).With("a", 1).With("b", 2).With("c", 3)
	one, two := base.With("x", 1).WithGroup("g1"), base.With("x", 2).WithGroup("g2")
	one.Info("m", "k", 1)
	two.Info("m", "k", 1)
	base.Info("m")
	for _, want := range []string{`"x":1,"g1":{"k":1}`, `"x":2,"g2":{"k":1}`, `"c":3}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in\n%s", want, out.String())
		}
	}
}

func BenchmarkLog(b *testing.B) {
	logger := telemetry.NewLogger(discard{}, telemetry.LogOptions{Service: "s", Project: "p"})
	ctx := telemetry.WithRequest(b.Context(), telemetry.Request{ID: "r", Trace: "4bf92f3577b34da6a3ce929d0e0e4736"})
	telemetry.Annotate(ctx, slog.String("auth_method", "jwt"), slog.String("service_name", "x"))
	b.ReportAllocs()
	for b.Loop() {
		logger.LogAttrs(ctx, slog.LevelInfo, "request", slog.String("method", "GET"), slog.Int("status", 200), slog.Float64("duration_ms", 1.5))
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
