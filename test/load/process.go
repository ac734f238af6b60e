package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is a server that runs.
type Process struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	Address string
}

const (
	startTime = 30 * time.Second
	poll      = 20 * time.Millisecond
)

// Start starts one of our servers, which prints its address.
func Start(ctx context.Context, binary string, args ...string) (*Process, error) {
	p, stdout, err := spawn(ctx, binary, args...)
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("%s: %w", strings.Join(p.cmd.Args, " "), err)
	}
	p.Address = strings.TrimSpace(line)
	return p, nil
}

// StartAt starts a server that is told its address, and waits until it listens there.
func StartAt(ctx context.Context, address, binary string, args ...string) (*Process, error) {
	p, stdout, err := spawn(ctx, binary, args...)
	if err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	p.Address = address
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return p, conn.Close()
		}
		select {
		case <-ctx.Done():
			p.Stop()
			return nil, fmt.Errorf("%s: %w", binary, err)
		case <-time.After(poll):
		}
	}
}

// spawn starts a process that has one processor: the other is for the load, so that what limits is the server.
func spawn(ctx context.Context, binary string, args ...string) (*Process, io.Reader, error) {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	return &Process{cmd: cmd, stdin: stdin}, stdout, nil
}

// Stop ends the process.
func (p *Process) Stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // killed, as it says
}

// CPU returns the processor time that the process has taken so far, of all its threads, as the scheduler
// counts it: in nanoseconds, where getrusage may count in ticks.
func (p *Process) CPU() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		running, _, _ := strings.Cut(string(data), " ")
		ns, err := strconv.ParseInt(running, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		total += time.Duration(ns)
	}
	if total == 0 {
		return 0, errors.New("the kernel does not say what a process's threads took (schedstat)")
	}
	return total, nil
}

// Memory returns how much memory the process has in use, in bytes, and how much of that is its own: what is mapped from
// files is the system's to keep or to drop.
func (p *Process) Memory() (resident, own int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(data)) {
		name, text, _ := strings.Cut(line, ":")
		var into *int64
		switch name {
		case "VmRSS":
			into = &resident
		case "RssAnon":
			into = &own
		default:
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
		if err != nil {
			return 0, 0, err
		}
		*into = kib << 10
	}
	if resident == 0 || own == 0 {
		return 0, 0, errors.New("the kernel does not say how much memory a process has (VmRSS, RssAnon)")
	}
	return resident, own, nil
}

// FreeAddress returns an address of this machine where nothing listens.
func FreeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Build builds a package of the module in dir. A module that the workspace does not know is built without it.
func Build(ctx context.Context, dir, pkg, binary string, workspace bool) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if !workspace {
		cmd.Env = append(cmd.Env, "GOWORK=off")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
