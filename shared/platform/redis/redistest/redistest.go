// Package redistest gives tests a real redis-server of their own: a private process on a free port of the
// loopback interface that keeps nothing on disk, and that a test can stop, start again, freeze, empty and
// fill with garbage. The process ends with the test, and also with the test binary, however that dies.
//
// Where redis-server is missing (make deps installs it) tests are skipped; with CI=true they fail instead.
package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 20 * time.Second
	starts       = 5 // a free port may be gone before redis-server takes it
)

// guard runs redis-server, after telling its process id, until its own standard input ends: when it is
// closed, or when the test binary has died. A frozen process ends too.
const guard = `"$@" </dev/null & redis=$!
echo "$redis"
read -r _
kill -9 "$redis"
wait "$redis"`

// Server is a redis-server.
type Server struct {
	t      testing.TB
	binary string
	dir    string
	args   []string
	port   int

	mu      sync.Mutex
	process *process
}

type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	pid   int
	ended chan struct{}
}

// Start starts a server that ends with the test. args are further options, such as "--requirepass", "x".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("redis-server is required in CI: %v", err)
		}
		t.Skipf("NOT TESTED against Redis, since there is no redis-server (make deps): %v", err)
	}
	s := &Server{t: t, binary: binary, dir: t.TempDir(), args: args}
	t.Cleanup(s.Stop)
	for range starts {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			return s
		}
	}
	t.Fatalf("redistest: %v", err)
	return nil
}

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns what REDIS_URL would be.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Stop kills the server; all that it kept is gone. Stopping a stopped one does nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.stdin.Close()
	<-s.process.ended
	s.process = nil
}

// Start starts a stopped server again, at the same address and empty.
func (s *Server) Start() {
	s.t.Helper()
	var err error
	for range starts {
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("redistest: start again: %v", err)
}

// Pause freezes the server: connections are accepted by the system, and nothing is answered.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a frozen server go on with what has come in meanwhile.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	if err := syscall.Kill(s.process.pid, sig); err != nil {
		s.t.Errorf("redistest: %s: %v", sig, err)
	}
}

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return errors.New("it runs already")
	}
	args := append([]string{
		"-c", guard, "guard", s.binary, "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--databases", "16",
	}, s.args...)
	p := &process{
		cmd:   exec.CommandContext(context.Background(), "sh", args...), // #nosec G204 -- the redis-server found in PATH
		ended: make(chan struct{}),
	}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return err
	}
	p.stdin = stdin
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan error, 1)
	go p.watch(output, ready)
	select {
	case err = <-ready:
	case <-time.After(startTimeout):
		err = fmt.Errorf("redis-server is not ready after %s", startTimeout)
	}
	if err != nil {
		_ = stdin.Close()
		<-p.ended
		return err
	}
	s.process = p
	return nil
}

// watch reads the process id and waits for the line by which the server says that it is ready.
func (p *process) watch(output io.Reader, ready chan<- error) {
	defer close(p.ended)
	var said []string
	lines := bufio.NewScanner(output)
	told := false
	for lines.Scan() {
		line := lines.Text()
		switch {
		case p.pid == 0:
			p.pid, _ = strconv.Atoi(line)
		case !told && strings.Contains(line, "Ready to accept connections"):
			told = true
			ready <- nil
		case len(said) < 50:
			said = append(said, line)
		}
	}
	err := p.cmd.Wait()
	if !told {
		ready <- fmt.Errorf("redis-server ended: %w\n%s", err, strings.Join(said, "\n"))
	}
}

func freePort() (int, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("no TCP address")
	}
	return addr.Port, nil
}
