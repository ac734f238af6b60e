// Package devtest builds isectl and runs the platform in one process, `isectl dev`, for tests that meet it as
// its users do: by its address, its files and its signals.
package devtest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second // Cloud Run grants 10 s
)

// Root returns the repository's root, the folder that go.work lies in.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.work above the test's folder")
		}
		dir = parent
	}
}

// Build builds isectl as it ships, without cgo, and returns its path. It is gone when the test ends.
func Build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "isectl")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	cmd.Dir = filepath.Join(Root(t), "cmd", "isectl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build isectl: %v\n%s", err, out)
	}
	return binary
}

// Platform is one running `isectl dev`.
type Platform struct {
	URL      string // http://127.0.0.1:port
	LocalDir string
	Binary   string

	cmd    *exec.Cmd
	output *buffer
	exited chan struct{} // closed when the process has ended
	err    error         // what it ended with, once exited is closed
}

// Start runs `isectl dev` on a free port with its state in localDir, and waits until it answers. When the
// test ends it is stopped with SIGTERM, unless the test has stopped or killed it itself. More environment
// variables may be given as NAME=value; of the test's own it gets PATH and HOME alone.
func Start(t testing.TB, binary, localDir string, env ...string) *Platform {
	t.Helper()
	p := &Platform{LocalDir: localDir, Binary: binary, output: &buffer{}, exited: make(chan struct{})}
	p.cmd = exec.Command(binary, "dev") //nolint:noctx // it ends by signals, which is part of what is tested
	p.cmd.Dir = filepath.Dir(localDir)
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"PORT=0", "LOCAL_DIR=" + localDir,
	}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("isectl dev: %v", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		select {
		case <-p.exited:
		default:
			p.Stop(t)
		}
		if t.Failed() {
			t.Logf("isectl dev printed:\n%s", p.output)
		}
	})
	p.waitReady(t)
	return p
}

// waitReady waits for the address that the process with our pid leaves in local.json, then for an answer
// there: the file of an earlier run on the same folder is not mistaken for this one's.
func (p *Platform) waitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if p.URL = p.address(); p.URL != "" && answers(ctx, p.URL+"/internal/auth/health") {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-p.exited:
			t.Fatalf("isectl dev ended while starting: %v\n%s", p.err, p.output)
		case <-ctx.Done():
			t.Fatalf("isectl dev does not answer\n%s", p.output)
		}
	}
}

func (p *Platform) address() string {
	var local struct {
		Server string `json:"server"`
		PID    int    `json:"pid"`
	}
	data, err := os.ReadFile(filepath.Join(p.LocalDir, "local.json"))
	if err != nil || json.Unmarshal(data, &local) != nil || local.PID != p.cmd.Process.Pid {
		return ""
	}
	return local.Server
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop sends SIGTERM and wants the process to end well, with status 0, in the time that Cloud Run grants.
func (p *Platform) Stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("isectl dev: %v", err)
	}
	select {
	case <-p.exited:
		if p.err != nil {
			t.Errorf("isectl dev ended on SIGTERM with: %v", p.err)
		}
	case <-time.After(stopTimeout):
		p.Kill(t)
		t.Errorf("isectl dev did not end within %v of SIGTERM", stopTimeout)
	}
}

// Kill ends the process with SIGKILL, as a crash would.
func (p *Platform) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Errorf("isectl dev: %v", err)
	}
	<-p.exited
}

// Run runs isectl against the platform and returns its standard output and exit status; what it wrote to
// standard error goes to the test's log.
func (p *Platform) Run(t testing.TB, stdin string, args ...string) (stdout string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.Binary, args...)
	cmd.Dir = filepath.Dir(p.LocalDir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LOCAL_DIR=" + p.LocalDir}
	cmd.Stdin = bytes.NewBufferString(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatalf("isectl %v: %v", args, err)
	}
	if errs.Len() > 0 {
		t.Logf("isectl %v: %s", args, &errs)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// Output returns what the process has printed so far.
func (p *Platform) Output() string { return p.output.String() }

// buffer is a bytes.Buffer that is read while a process writes to it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
