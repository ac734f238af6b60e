package stage

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 12 * time.Second // Cloud Run grants 10 s
)

// Probe is what a started function is asked, and what it answers while none of its back ends can be reached.
type Probe struct {
	Path   string
	Status int      // 0: whatever it is
	Env    []string // what the function needs beside what all do, NAME=value
}

// Environment returns the variables with which a function starts as on Cloud Run, but with each of its back
// ends at an address where nothing listens. Credentials are made for the occasion, in dir.
func Environment(ctx context.Context, dir string) ([]string, error) {
	dead, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort("127.0.0.1", dead)
	credentials, err := writeCredentials(dir, "http://"+address+"/token")
	if err != nil {
		return nil, err
	}
	return []string{
		"GOOGLE_CLOUD_PROJECT=rehearsal",
		"GOOGLE_APPLICATION_CREDENTIALS=" + credentials,
		"FIRESTORE_EMULATOR_HOST=" + address,
		"PUBSUB_EMULATOR_HOST=" + address,
		"HTTPS_PROXY=http://" + address, // what has no emulator stays on this machine, too
		"REQUEST_TIMEOUT=3s",
	}, nil
}

// writeCredentials makes a service account's key that no one knows of.
func writeCredentials(dir, tokens string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "rehearsal", "private_key_id": "1",
		"client_email": "rehearsal@rehearsal.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "credentials.json")
	return file, os.WriteFile(file, data, 0o600)
}

// Refuses starts a function without any configuration and wants it to end at once, with status 1 and one
// line that names GOOGLE_CLOUD_PROJECT.
func Refuses(ctx context.Context, binary, target string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = []string{"FUNCTION_TARGET=" + target, "PORT=" + port}
	said, err := cmd.CombinedOutput()
	if err == nil {
		err = errors.New("no error")
	}
	if cmd.ProcessState.ExitCode() != 1 {
		return fmt.Errorf("%s without configuration: want exit status 1, got %s: %w\n%s", target, cmd.ProcessState, err, said)
	}
	if bytes.Count(said, []byte("\n")) != 1 || !bytes.Contains(said, []byte("GOOGLE_CLOUD_PROJECT")) {
		return fmt.Errorf("%s without configuration: want one line that names GOOGLE_CLOUD_PROJECT, got %q", target, said)
	}
	return nil
}

// Answers starts a function whose back ends cannot be reached, wants the probe's answer of it, and on
// SIGTERM that it ends with status 0.
func Answers(ctx context.Context, binary, target string, env []string, probe Probe) (err error) {
	p, err := Start(ctx, binary, append([]string{"FUNCTION_TARGET=" + target}, append(env, probe.Env...)...))
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	defer func() {
		if stopErr := p.Stop(); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", target, stopErr))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	status, err := p.Await(ctx, probe.Path, 5*time.Millisecond)
	if err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if probe.Status != 0 && status != probe.Status {
		return fmt.Errorf("%s answers GET %s with %d, want %d", target, probe.Path, status, probe.Status)
	}
	return nil
}

// Process is a function that runs.
type Process struct {
	URL     string
	Started time.Time // just before the process was made

	cmd    *exec.Cmd
	output bytes.Buffer
	exited chan struct{} // closed when it has ended
	err    error         // what it ended with, once exited is closed
}

// Start starts a binary on a free port with the given environment alone.
func Start(ctx context.Context, binary string, env []string) (*Process, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p := &Process{URL: "http://" + net.JoinHostPort("127.0.0.1", port), exited: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, binary)
	p.cmd.Env = append([]string{"PORT=" + port}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.Started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Await asks for a path, again whenever every has passed, until there is an answer, and returns its status.
func (p *Process) Await(ctx context.Context, path string, every time.Duration) (int, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if status, ok := get(ctx, client, p.URL+path); ok {
			return status, nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return 0, fmt.Errorf("ended while starting: %w\n%s", p.err, p.output.String())
		case <-ctx.Done():
			return 0, fmt.Errorf("no answer to GET %s: %w", path, ctx.Err())
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (int, bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, false
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, false
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err == nil
}

// Stop sends SIGTERM and wants the process to end with status 0 in the time that Cloud Run grants.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		_ = p.Kill()
		return fmt.Errorf("did not end within %v of SIGTERM", stopTimeout)
	}
	if p.err != nil {
		return fmt.Errorf("ended on SIGTERM with %w\n%s", p.err, strings.TrimSpace(p.output.String()))
	}
	return nil
}

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	<-p.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// freePort returns a port of the loopback address that nothing listens on.
func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
