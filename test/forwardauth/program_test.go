package forwardauth

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/test/devtest"
)

const (
	startTimeout = 20 * time.Second
	starts       = 5 // a free port may be gone before the program takes it
)

// guard runs a program until that ends, or its own standard input does: when it is closed, or when the test binary
// has died.
const guard = `exec 3<&0
"$@" </dev/null 3<&- & program=$!
{ read -r _ <&3; kill -9 "$program"; } >/dev/null 2>&1 &
wait "$program"`

// program returns the path of a proxy, or ends the test where it is missing.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is required in CI (make deps)", name)
	}
	t.Skipf("NOT TESTED against %s, which is not installed (make deps)", name)
	return ""
}

// example returns the text of a file of examples/forward-auth, with the time that authz is waited for cut short.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(devtest.Root(t), "examples", "forward-auth", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("read_timeout 5s", "read_timeout 500ms", "header_timeout 5s", "header_timeout 500ms").Replace(string(text))
}

// start runs a program that is configured to listen, at an address that configure is given, until the test ends.
func start(t *testing.T, configure func(listen string) *exec.Cmd) (listen string) {
	t.Helper()
	var said string
	for range starts {
		listen = freeAddress(t)
		cmd := configure(listen)
		p := &running{ended: make(chan struct{})}
		p.cmd = exec.Command("sh", append([]string{"-c", guard, "guard"}, cmd.Args...)...) //nolint:noctx // it ends when its standard input does
		p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = cmd.Env, cmd.Dir, &p.output, &p.output
		stdin, err := p.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = p.cmd.Wait()
			close(p.ended)
		}()
		stop := func() {
			_ = stdin.Close()
			<-p.ended
		}
		if p.answers(t, listen) {
			t.Cleanup(func() {
				stop()
				if t.Failed() {
					t.Logf("%s said:\n%s", cmd.Args[0], &p.output)
				}
			})
			return listen
		}
		stop()
		said = p.output.String()
	}
	t.Fatalf("the proxy does not listen:\n%s", said)
	return ""
}

// running is a program that was started.
type running struct {
	cmd    *exec.Cmd
	output output
	ended  chan struct{}
}

// answers waits until somebody listens at an address, or the time is up.
func (p *running) answers(t *testing.T, address string) bool {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(startTimeout); ; {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return false
		case <-deadline:
			return false
		}
	}
}

// output is a buffer that is read while a program writes to it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
