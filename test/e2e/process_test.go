package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/test/devtest"
)

// startTimeout bounds the start of a process.
const startTimeout = time.Minute

// process is a program that can be killed and started again.
type process struct {
	name    string
	command []string
	env     []string // all of it
	url     string   // where it is reached
	health  string   // URL that answers, whatever it is, once the process is ready
	output  log

	mu      sync.Mutex
	cmd     *exec.Cmd
	stdin   io.Closer // whose end ends the process
	exited  chan struct{}
	stopped bool // on purpose
}

// run starts a process that ends with the test.
func run(t testing.TB, p *process) {
	t.Helper()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the end of what %s printed:\n%s", p.name, p.output.tail(8<<10))
		}
	})
	if err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// start starts the process and waits until it answers.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = exec.Command(p.command[0], p.command[1:]...) //nolint:noctx // it ends by a signal or with its standard input
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, &p.output, &p.output
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.stdin, p.exited, p.stopped = stdin, make(chan struct{}), false
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
	return p.ready(ctx)
}

func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if answers(ctx, p.health) {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("%s ended while starting:\n%s", p.name, p.output.tail(8<<10))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer:\n%s", p.name, p.output.tail(8<<10))
		}
	}
}

// kill ends the process as a crash would, and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.cmd.Process == nil || p.stopped {
		return
	}
	p.stopped = true
	if p.command[0] != "sh" {
		_ = p.cmd.Process.Kill() // it may have ended
	}
	_ = p.stdin.Close()
	<-p.exited
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return true
}

// guarded runs a program that knows nothing of us until standard input ends.
func guarded(command ...string) []string {
	const guard = `"$@" </dev/null & child=$!
read -r _
kill -9 "$child"
wait "$child"`
	return append([]string{"sh", "-c", guard, "guard"}, command...)
}

// freePort returns a port that nobody listens at yet.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// buildFunction builds the program that serves a function.
func buildFunction(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "function")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./e2e/cmd/function")
	cmd.Dir = filepath.Join(devtest.Root(t), "test")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the functions: %v\n%s", err, out)
	}
	return binary
}

// missing skips a test that lacks a part, or fails it in CI.
func missing(t testing.TB, part string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is required in CI: %v", part, err)
	}
	t.Skipf("NOT TESTED on %s: %v", part, err)
}

// log keeps what processes print.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.b.Bytes()
	return string(all[max(0, len(all)-n):])
}
