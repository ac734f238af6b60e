package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const emulatorJar = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"

// official is the official Pub/Sub emulator, which the broker is compared with.
type official struct {
	once sync.Once
	addr string
	in   io.Closer
	cmd  *exec.Cmd
	err  error
}

var emulator official

// at returns the emulator's address, starting it if need be; without one it skips the test, or fails it in
// CI.
func (o *official) at(t *testing.T) string {
	t.Helper()
	o.once.Do(func() {
		if o.addr = os.Getenv("PUBSUB_EMULATOR_HOST"); o.addr == "" {
			o.err = o.start()
		}
	})
	if o.err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the Pub/Sub emulator is required in CI: %v", o.err)
		}
		t.Skipf("NOT COMPARED with Pub/Sub, since its emulator cannot be started: %v", o.err)
	}
	return o.addr
}

// emulatorGuard runs java until its standard input ends, as it does when this process has died in whatever
// way.
const emulatorGuard = `"$@" </dev/null & java=$!
read -r _; kill -9 "$java"; wait "$java"`

func (o *official) start() error {
	java, err := exec.LookPath("java")
	if err != nil {
		return err
	}
	jar, err := findEmulator()
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	_, port, _ := strings.Cut(addr, ":")
	o.cmd = exec.CommandContext(context.Background(), "sh", "-c", emulatorGuard, "guard", // #nosec G204 -- the SDK's own jar
		java, "-Duser.language=en", "-jar", jar, "--host=127.0.0.1", "--port="+port)
	in, err := o.cmd.StdinPipe()
	if err != nil {
		return err
	}
	o.in = in
	output, err := o.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	o.cmd.Stderr = o.cmd.Stdout
	if err := o.cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Server started, listening on") {
			go func() { _, _ = io.Copy(io.Discard, output) }()
			o.addr = addr
			return nil
		}
	}
	return fmt.Errorf("the emulator ended")
}

func (o *official) stop() {
	if o.cmd == nil || o.cmd.Process == nil {
		return
	}
	_ = o.in.Close()
	_ = o.cmd.Wait()
}

func findEmulator() (string, error) {
	roots := []string{os.Getenv("CLOUDSDK_ROOT"), "/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk", "/google-cloud-sdk"}
	if gcloud, err := exec.LookPath("gcloud"); err == nil {
		if resolved, err := filepath.EvalSymlinks(gcloud); err == nil {
			roots = append(roots, filepath.Dir(filepath.Dir(resolved)))
		}
	}
	for _, root := range roots {
		if found, err := filepath.Glob(filepath.Join(root, emulatorJar)); err == nil && root != "" && len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("no %s in the gcloud SDK (gcloud components install pubsub-emulator)", emulatorJar)
}
