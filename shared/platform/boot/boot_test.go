package boot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	"github.com/isectech/service-networking/shared/platform/config"
)

// The framework's registry and server belong to the process and cannot be reset or stopped, so what goes
// through them is tested in a child: this test binary again, told by a variable to be a function.
const childVariable = "BOOT_TEST_PORT"

func TestMain(m *testing.M) {
	if port := os.Getenv(childVariable); port != "" {
		child(port)
		return
	}
	os.Exit(m.Run())
}

// child registers the functions as an init function would, and serves as the buildpack's main does.
func child(port string) {
	HTTP("Slow", func(_ context.Context, env Env) (http.Handler, error) {
		for _, name := range []string{"first", "second"} {
			env.OnShutdown(name, func(context.Context) error { fmt.Println("closed", name); return nil })
		}
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Println("in flight")
			_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
			_, _ = io.WriteString(w, "done")
		}), nil
	})
	HTTP("Broken", func(_ context.Context, env Env) (http.Handler, error) {
		var c struct {
			config.Base
			Workers int `env:"WORKERS, required"`
		}
		return nil, config.Load(env.Lookup, &c)
	})
	HTTP("Path", func(context.Context, Env) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Path", r.URL.Path) }), nil
	})
	if err := funcframework.StartHostPort("127.0.0.1", port); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// started is a child that runs.
type started struct {
	cmd    *exec.Cmd
	url    string
	stdin  io.WriteCloser
	stdout *bufio.Scanner
	stderr *strings.Builder
}

// start runs a child with variables of its own. It is killed when the test ends before it does.
func start(t *testing.T, env ...string) *started {
	t.Helper()
	port := freePort(t)
	s := &started{cmd: exec.CommandContext(t.Context(), os.Args[0]), url: "http://127.0.0.1:" + port, stderr: &strings.Builder{}}
	s.cmd.Env = append([]string{childVariable + "=" + port}, env...)
	s.cmd.Stderr = s.stderr
	var err error
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdout = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// await reads the child's output up to a line that contains text.
func (s *started) await(t *testing.T, text string) {
	t.Helper()
	for s.stdout.Scan() {
		if strings.Contains(s.stdout.Text(), text) {
			return
		}
	}
	t.Fatalf("the child ended without %q; it said %s", text, s.stderr)
}

// exit waits for the child's end and returns its status.
func (s *started) exit(t *testing.T) int {
	t.Helper()
	err := s.cmd.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

type answer struct {
	status int
	header http.Header
	body   string
	close  bool
	err    error
}

func (s *started) get(ctx context.Context, path string) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return answer{err: err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body), resp.Close, err}
}

// ready waits until the child listens.
func (s *started) ready(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(deadline, "tcp", strings.TrimPrefix(s.url, "http://"))
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline.Done():
			t.Fatalf("the child does not listen: %s", s.stderr)
		}
	}
}

func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	s := start(t, "FUNCTION_TARGET=Slow")
	s.ready(t)
	slow := make(chan answer, 1)
	go func() { slow <- s.get(t.Context(), "/any/path") }()
	s.await(t, "in flight")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await(t, `"message":"draining"`)
	if a := s.get(t.Context(), "/"); a.status != 503 || !a.close || a.header.Get("Retry-After") == "" {
		t.Errorf("while it drains a new request got %+v", a)
	}
	_ = s.stdin.Close()
	if a := <-slow; a.err != nil || a.status != 200 || a.body != "done" {
		t.Errorf("the request in flight got %+v", a)
	}
	s.await(t, "closed second")
	s.await(t, "closed first")
	s.await(t, "drained")
	if code := s.exit(t); code != 0 {
		t.Errorf("exit status %d: %s", code, s.stderr)
	}
}

func TestBadConfigurationStopsTheStart(t *testing.T) {
	t.Parallel()
	s := start(t, "FUNCTION_TARGET=Broken", "ENVIRONMENT=prod", "LOG_LEVEL=loud")
	for s.stdout.Scan() {
		t.Errorf("unexpected output %q", s.stdout.Text())
	}
	if code := s.exit(t); code != 1 {
		t.Errorf("exit status %d", code)
	}
	said := s.stderr.String()
	if strings.Count(said, "\n") != 1 {
		t.Errorf("said more than one line: %q", said)
	}
	for _, want := range []string{"LOG_LEVEL", "ENVIRONMENT", "WORKERS: is required", "CRITICAL", "Broken"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not name %s", said, want)
		}
	}
}

// A function that is told to record spans and cannot says so when it starts, not by traces that nobody finds.
func TestTracesWithoutExporters(t *testing.T) {
	t.Parallel()
	s := start(t, "FUNCTION_TARGET=Path", "OTEL_TRACES_EXPORTER=otlp")
	for s.stdout.Scan() {
		t.Errorf("unexpected output %q", s.stdout.Text())
	}
	if code, said := s.exit(t), s.stderr.String(); code != 1 || !strings.Contains(said, "OTEL_TRACES_EXPORTER: otlp: this binary was linked without exporters") {
		t.Errorf("exit status %d, said %q", code, said)
	}
}

func TestSeveralFunctionsShareAProcess(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.ready(t)
	if a := s.get(t.Context(), "/Path"); a.status != 200 || a.header.Get("X-Path") != "/Path" {
		t.Errorf("%+v", a)
	}
	if a := s.get(t.Context(), "/Broken"); a.status != 503 || !strings.Contains(a.body, `"unavailable"`) || strings.Contains(a.body, "WORKERS") {
		t.Errorf("%+v", a)
	}
	if a := s.get(t.Context(), "/path"); a.status != 404 {
		t.Errorf("%+v", a)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await(t, "WORKERS")
	s.await(t, "drained")
	if code := s.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
