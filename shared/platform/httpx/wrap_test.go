package httpx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

// logs is a writer that keeps log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// counted is a Recorder that keeps what it was told.
type counted struct {
	mu   sync.Mutex
	seen []string
}

func (c *counted) ObserveRequest(method string, status int, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fmt.Sprint(method, " ", status))
}

var errAbsent = errors.New("absent")

// serve sends one request through Wrap and returns the answer and the log.
func serve(t *testing.T, f httpx.HandlerFunc, r *http.Request) (*httptest.ResponseRecorder, *logs) {
	t.Helper()
	out := &logs{}
	w := httptest.NewRecorder()
	httpx.Wrap(httpx.Handle(f), httpx.Options{
		Now: clock, Logger: telemetry.NewLogger(out, telemetry.LogOptions{Service: "s"}), MaxBody: 100,
		Errors: httpx.Table{
			{Is: errAbsent, As: httpx.NotFound("no such thing")},
			{Is: io.ErrNoProgress, Make: func(error) *httpx.Error { return httpx.Conflict(7, "too late") }},
		},
	}).ServeHTTP(w, r)
	return w, out
}

func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	const head = `"request_id":"r1","timestamp":"2026-01-04T12:00:00Z"`
	tests := []struct {
		name   string
		err    error
		status int
		body   string
		header http.Header
		cause  string // what the log must hold
	}{
		{"invalid request", httpx.InvalidRequest("bad", httpx.FieldError{Field: "a.b", Message: "x"}), 400,
			`{"error":"invalid_request","message":"bad",` + head + `,"fields":[{"field":"a.b","message":"x"}]}`, nil, ""},
		{"invalid request without fields", httpx.InvalidRequest("bad"), 400,
			`{"error":"invalid_request","message":"bad",` + head + `,"fields":[]}`, nil, ""},
		{"no credentials", httpx.Refused(auth.NoCredentials, "authentication is required"), 401,
			`{"error":"authentication_required","message":"authentication is required",` + head + `,"reason":"no_credentials"}`,
			http.Header{"Www-Authenticate": {`Bearer realm="isectech"`}}, ""},
		{"bad credentials", fmt.Errorf("verify: %w", auth.Refuse(auth.Expired, `ended "at" noon`)), 401,
			`{"error":"authentication_failed","message":"ended \"at\" noon",` + head + `,"reason":"expired"}`,
			http.Header{"Www-Authenticate": {`Bearer realm="isectech", error="invalid_token", error_description="ended  at  noon"`}}, ""},
		{"refusal without detail", auth.Refuse(auth.BadSignature, ""), 401,
			`{"error":"authentication_failed","message":"bad signature",` + head + `,"reason":"bad_signature"}`,
			http.Header{"Www-Authenticate": {`Bearer realm="isectech", error="invalid_token", error_description="bad signature"`}}, ""},
		{"edge", auth.Refuse(auth.UntrustedEdge, "a may not call b"), 403,
			`{"error":"untrusted_edge","message":"a may not call b",` + head + `,"reason":"untrusted_edge"}`, nil, ""},
		{"scope", httpx.InsufficientScope(auth.AdminRead | auth.AdminWrite), 403,
			`{"error":"insufficient_scope","message":"the caller lacks a required scope",` + head + `,"reason":"insufficient_scope","required":["admin:read","admin:write"]}`,
			http.Header{"Www-Authenticate": {`Bearer realm="isectech", error="insufficient_scope", scope="admin:read admin:write"`}}, ""},
		{"nonces out of reach", auth.Refuse(auth.NonceUnavailable, ""), 503,
			`{"error":"unavailable","message":"nonce unavailable",` + head + `,"reason":"nonce_unavailable"}`, http.Header{"Retry-After": {"1"}}, "nonce_unavailable"},
		{"not the owner", httpx.Forbidden("not_owner", "another's"), 403,
			`{"error":"not_owner","message":"another's",` + head + `}`, nil, ""},
		{"table", fmt.Errorf("get x: %w", errAbsent), 404, `{"error":"not_found","message":"no such thing",` + head + `}`, nil, ""},
		{"table that makes", io.ErrNoProgress, 409, `{"error":"conflict","message":"too late",` + head + `,"generation":7}`, nil, ""},
		{"precondition", httpx.PreconditionFailed(3), 412,
			`{"error":"precondition_failed","message":"a precondition of the request does not hold",` + head + `,"generation":3}`, nil, ""},
		{"gone", httpx.Gone("too old").With("index", 5), 410, `{"error":"gone","message":"too old",` + head + `,"index":5}`, nil, ""},
		{"unprocessable", httpx.Unprocessable("no"), 422, `{"error":"unprocessable","message":"no",` + head + `,"fields":[]}`, nil, ""},
		{"rate", httpx.RateLimited(httpx.Quota{Policy: "caller", Limit: 10, Window: time.Minute, Remaining: -1, Reset: 1500 * time.Millisecond}), 429,
			`{"error":"rate_limited","message":"too many requests",` + head + `,"reason":"rate_limited"}`,
			http.Header{"Retry-After": {"2"}, "Ratelimit": {`"caller";r=0;t=2`}, "Ratelimit-Policy": {`"caller";q=10;w=60`}}, ""},
		{"unavailable", httpx.Unavailable(1100*time.Millisecond, "soon").Because(errors.New("store is down")), 503,
			`{"error":"unavailable","message":"soon",` + head + `}`, http.Header{"Retry-After": {"2"}}, "store is down"},
		{"oauth", httpx.OAuth(400, "invalid_target", "no").With("reason", "untrusted_edge"), 400,
			`{"error":"invalid_target","message":"no",` + head + `,"error_description":"no","reason":"untrusted_edge"}`, nil, ""},
		{"unknown stays inside", errors.New("password=hunter2"), 500, `{"error":"internal","message":"internal error",` + head + `}`, nil, "hunter2"},
		{"deadline", fmt.Errorf("read: %w", context.DeadlineExceeded), 503,
			`{"error":"unavailable","message":"the request took too long",` + head + `}`, http.Header{"Retry-After": {"1"}}, "read: context deadline"},
		{"cancelled inside, caller still there", context.Canceled, 500, `{"error":"internal","message":"internal error",` + head + `}`, nil, "context canceled"},
		{"too large", &http.MaxBytesError{Limit: 9}, 413, `{"error":"too_large","message":"the body is larger than 9 bytes",` + head + `}`, nil, ""},
		{"fields cannot pose as the fixed four", httpx.NotFound("x").With("request_id", "evil").With("error", "evil"), 404,
			`{"error":"not_found","message":"x",` + head + `}`, nil, ""},
		{"what cannot be encoded is left out", httpx.NotFound("x").With("c", make(chan int)).With("d", 1), 404,
			`{"error":"not_found","message":"x",` + head + `,"d":1}`, nil, ""},
		{"invalid UTF-8 is mended", httpx.NotFound("x\xff"), 404, `{"error":"not_found","message":"x` + "\ufffd" + `",` + head + `}`, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Request-ID", "r1")
			w, log := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("ETag", `"1"`)
				w.Header().Set("Cache-Control", "max-age=60")
				_, _ = io.WriteString(w, "half an answer")
				return tt.err
			}, r)
			if w.Code != tt.status || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", w.Code, w.Header().Get("Content-Type"))
			}
			if d := cmp.Diff(tt.body+"\n", w.Body.String()); d != "" {
				t.Error(d)
			}
			for name, want := range tt.header {
				if d := cmp.Diff(want, w.Header()[name]); d != "" {
					t.Errorf("%s: %s", name, d)
				}
			}
			if w.Header().Get("ETag") != "" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers of the answer that failed are left: %v", w.Header())
			}
			if tt.cause != "" && !strings.Contains(log.String(), tt.cause) {
				t.Errorf("the log lacks the cause: %s", log)
			}
			if tt.status < 500 && strings.Contains(log.String(), "request failed") {
				t.Errorf("logged as a failure: %s", log)
			}
		})
	}
}

func TestClientGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w, log := serve(t, func(_ http.ResponseWriter, r *http.Request) error { return r.Context().Err() },
		httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	if w.Code != 499 || strings.Contains(log.String(), `"severity":"ERROR"`) {
		t.Errorf("%d\n%s", w.Code, log)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		given []string
		kept  bool
	}{
		{"none", nil, false},
		{"good", []string{"req-1.a_B"}, true},
		{"one character", []string{"x"}, true},
		{"128", []string{strings.Repeat("a", 128)}, true},
		{"129", []string{strings.Repeat("a", 129)}, false},
		{"empty", []string{""}, false},
		{"two", []string{"a", "b"}, false},
		{"two in one", []string{"a, b"}, false},
		{"space", []string{"a b"}, false},
		{"newline", []string{"a\nb"}, false},
		{"next line", []string{"a\x85"}, false},
		{"non-breaking space", []string{"\xa0a"}, false},
		{"quote", []string{`a"`}, false},
		{"letters beyond ASCII", []string{"ä"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["X-Request-Id"] = tt.given
			var inside, header string
			w, log := serve(t, func(_ http.ResponseWriter, r *http.Request) error {
				inside, header = httpx.RequestID(r.Context()), strings.Join(r.Header["X-Request-Id"], "|")
				return nil
			}, r)
			echoed := w.Header()["X-Request-Id"]
			if len(echoed) != 1 || echoed[0] != inside || header != inside || !strings.Contains(log.String(), `"request_id":"`+inside+`"`) {
				t.Fatalf("echoed %q, inside %q, header %q, log %s", echoed, inside, header, log)
			}
			if kept := len(tt.given) == 1 && echoed[0] == tt.given[0]; kept != tt.kept {
				t.Errorf("echoed %q", echoed)
			}
			if !tt.kept && len(echoed[0]) != 32 {
				t.Errorf("made %q, want 128 bits in hex", echoed[0])
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	secure := httptest.NewRequest("GET", "/", nil)
	secure.Header.Set("X-Forwarded-Proto", "https")
	w, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
		return httpx.WriteJSON(w, http.StatusCreated, map[string]any{"b": []string(nil), "a": "<&>"})
	}, secure)
	if d := cmp.Diff("{\"a\":\"<&>\",\"b\":[]}\n", w.Body.String()); d != "" || w.Code != 201 {
		t.Error(w.Code, d)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Length": "19", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff", "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	w, _ = serve(t, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Cache-Control", "public, max-age=300")
		return nil
	}, httptest.NewRequest("GET", "/", nil))
	if got := w.Header().Get("Cache-Control"); got != "public, max-age=300" || w.Code != 200 {
		t.Errorf("%d, Cache-Control %q", w.Code, got)
	}
	if got := w.Header().Get("Strict-Transport-Security"); got != "" {
		t.Errorf("without TLS: Strict-Transport-Security %q", got)
	}
	if err := httpx.WriteJSON(httptest.NewRecorder(), 200, make(chan int)); err == nil {
		t.Error("a channel was encoded")
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	w, log := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("X-Half", "1")
		_, _ = io.WriteString(w, "half")
		panic("secret detail")
	}, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "half") || w.Header().Get("X-Half") != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "secret detail") || !strings.Contains(log.String(), "wrap_test.go") || !strings.Contains(log.String(), `"status":500`) {
		t.Errorf("log: %s", log)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
			t.Errorf("recovered %v", p)
		}
	}()
	serve(t, func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }, httptest.NewRequest("GET", "/", nil))
}

func TestRefusedBeforeTheHandler(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"good", func(*http.Request) {}, 204},
		{"any text in User-Agent", func(r *http.Request) { r.Header.Set("User-Agent", "ü\x85") }, 204},
		{"body of the greatest size", func(r *http.Request) { r.ContentLength = 100 }, 204},
		{"body declared too large", func(r *http.Request) { r.ContentLength = 101 }, 413},
		{"long URL", func(r *http.Request) { r.RequestURI = "/" + strings.Repeat("a", 8<<10) }, 414},
		{"token of 9 KiB is for authentication to judge", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 9<<10)) }, 204},
		{"large headers", func(r *http.Request) { r.Header.Set("X", strings.Repeat("a", 32<<10)) }, 431},
		{"many headers", func(r *http.Request) { r.Header["X"] = make([]string, 101) }, 431},
		{"NEL in Authorization", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x\x85") }, 400},
		{"NBSP in X-Service-Name", func(r *http.Request) { r.Header.Set("X-Service-Name", "\xa0isectech-frontend") }, 400},
		{"DEL in X-API-Nonce", func(r *http.Request) { r.Header.Set("X-API-Nonce", "a\x7f") }, 400},
		{"tab in X-Target-Service", func(r *http.Request) { r.Header.Set("X-Target-Service", "a\tb") }, 400},
		{"second value", func(r *http.Request) { r.Header["X-Isectech-Proxy-Marker"] = []string{"a", "b\x80"} }, 400},
		{"Host", func(r *http.Request) { r.Host = "a\x85" }, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
			tt.change(r)
			called := false
			w, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
				called = true
				w.WriteHeader(204)
				return nil
			}, r)
			if w.Code != tt.status || called != (tt.status == 204) {
				t.Errorf("%d %s, handler called: %v", w.Code, w.Body, called)
			}
		})
	}
}

func TestAccessLineAndMetrics(t *testing.T) {
	t.Parallel()
	out, seen := &logs{}, &counted{}
	now := noon
	h := httpx.Wrap(httpx.Handle(func(w http.ResponseWriter, r *http.Request) error {
		httpx.SetPrincipal(r.Context(), auth.Principal{
			Subject: auth.MustSubject("isectech-frontend"), ServiceID: "frontend-001", Scopes: auth.APIRead, Method: auth.MethodJWT,
		})
		httpx.Annotate(r.Context(), slog.String("decision_id", "d1"))
		now = now.Add(12500 * time.Microsecond)
		return auth.Refuse(auth.UntrustedEdge, "no")
	}), httpx.Options{
		Now: func() time.Time { return now }, Metrics: seen,
		Logger: telemetry.NewLogger(out, telemetry.LogOptions{Service: "isectech-authz", Project: "p"}),
	})
	r := httptest.NewRequest("GET", "/a%2Fb?token=hunter2", nil)
	r.Header.Set("X-Request-ID", "r1")
	r.Header.Set("User-Agent", strings.Repeat("u", 200))
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	delete(got, "timestamp")
	want := map[string]any{
		"level": "INFO", "severity": "INFO", "message": "request", "service": "isectech-authz", "request_id": "r1",
		"logging.googleapis.com/trace":  "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736",
		"logging.googleapis.com/spanId": "00f067aa0ba902b7",
		"auth_method":                   "jwt", "service_name": "isectech-frontend", "service_id": "frontend-001", "scopes": []any{"api:read"},
		"decision_id": "d1", "error_code": "untrusted_edge", "reason": "untrusted_edge",
		"method": "GET", "path": "/a%2Fb", "status": 403.0, "duration_ms": 12.5, "response_bytes": got["response_bytes"],
		"user_agent": strings.Repeat("u", 128) + "…",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"GET 403"}, seen.seen); d != "" {
		t.Error(d)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	h := httpx.Wrap(httpx.Handle(func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return r.Context().Err()
	}), httpx.Options{Now: clock, Timeout: time.Millisecond})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// listen serves echoes of the body's length on a real connection and returns the address.
func listen(t *testing.T, timeout time.Duration) string {
	t.Helper()
	handler := httpx.Wrap(httpx.Handle(func(w http.ResponseWriter, r *http.Request) error {
		body, err := httpx.ReadBody(r, 0)
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, 200, len(body))
	}), httpx.Options{Now: clock, Timeout: timeout})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httpx.Server(handler, slog.New(slog.DiscardHandler))
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listener.Addr().String()
}

// A caller that sends all of a large body before it reads gets the whole answer, declared size or not, and
// one that sends nothing for too long is let go.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	const (
		head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		size = 2 << 20
	)
	large := strings.Repeat("x", size)
	for _, tt := range []struct {
		name, request, want string
		timeout             time.Duration
	}{
		{"declared", fmt.Sprintf(head+"Content-Length: %d\r\n\r\n%s", size, large), "HTTP/1.1 413 ", time.Minute},
		{"chunked", fmt.Sprintf(head+"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, large), "HTTP/1.1 413 ", time.Minute},
		{"too slow", head + "Content-Length: 10\r\n\r\nabc", "HTTP/1.1 408 ", 50 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listen(t, tt.timeout))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, tt.request); err != nil {
				t.Fatalf("send: %v", err)
			}
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), tt.want) || !strings.Contains(string(answer), `"request_id"`) {
				t.Errorf("answer %q, error %v", answer, err)
			}
		})
	}
}
