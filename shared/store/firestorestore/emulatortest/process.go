package emulatortest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	starts       = 3 // a free port may be gone before the emulator takes it
	mainClass    = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
	jarInSDK     = "platform/cloud-firestore-emulator/cloud-firestore-emulator.jar"
)

// guard runs java, after telling its process id, until its own standard input says so: by a line, after which
// java may end properly, or by its end, which comes when the test binary has died in whatever way.
const guard = `"$@" </dev/null & java=$!
echo "pid $java"
if read -r _; then kill "$java"; else kill -9 "$java"; fi
wait "$java"`

// process is a running emulator.
type process struct {
	addr  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	pid   int // java's
	ended chan struct{}
	// keep, when set, moves the class-data archive that java wrote on its end to where the next start
	// finds it.
	keep func()
}

// start starts an emulator; options are further ones of its command line.
func start(options ...string) (*process, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("no java in PATH: %w", err)
	}
	jar, err := findJar()
	if err != nil {
		return nil, err
	}
	var failed error
	for range starts {
		p, err := launch(java, jar, options...)
		if err == nil {
			return p, nil
		}
		failed = err
	}
	return nil, failed
}

func launch(java, jar string, options ...string) (*process, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	p := &process{addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), ended: make(chan struct{})}
	args := []string{"-c", guard, "guard", java, "-Duser.language=en"}
	args = append(args, p.archive(java, jar)...)
	args = append(args, "-cp", jar, mainClass, "--host=127.0.0.1",
		fmt.Sprintf("--port=%d", ports[0]), fmt.Sprintf("--websocket_port=%d", ports[1]))
	args = append(args, options...)
	p.cmd = exec.CommandContext(context.Background(), "sh", args...) // #nosec G204 -- the SDK's own jar
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	go p.watch(output, ready)
	select {
	case err = <-ready:
	case <-time.After(startTimeout):
		err = fmt.Errorf("the emulator is not ready after %s", startTimeout)
	}
	if err != nil {
		p.keep = nil
		_ = p.stdin.Close() // the guard ends java
		<-p.ended
		return nil, err
	}
	return p, nil
}

// watch reads what the emulator prints: first that it is ready, then on to its end.
func (p *process) watch(output io.Reader, ready chan<- error) {
	var lines []string
	var once sync.Once
	scanner := bufio.NewScanner(output)
	for scanner.Scan() {
		line := scanner.Text()
		if pid, ok := strings.CutPrefix(line, "pid "); ok && p.pid == 0 {
			p.pid, _ = strconv.Atoi(pid)
			continue
		}
		if strings.Contains(line, "Dev App Server is now running") {
			once.Do(func() { ready <- nil })
		}
		if lines = append(lines, line); len(lines) > 20 {
			lines = lines[1:]
		}
	}
	once.Do(func() { ready <- fmt.Errorf("the emulator ended:\n%s", strings.Join(lines, "\n")) })
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
	close(p.ended)
}

// stop ends the emulator and waits for it.
func (p *process) stop() {
	if p.keep != nil {
		_, _ = io.WriteString(p.stdin, "stop\n")
	} else {
		_ = p.stdin.Close()
	}
	select {
	case <-p.ended:
		if p.keep != nil {
			p.keep()
		}
	case <-time.After(stopTimeout):
		_ = p.stdin.Close()
		_ = p.cmd.Process.Kill()
	}
}

// archive returns java's options for the class-data archive, which more than halves the time to start:
// to use the one that is there, or to write one at the end. Without a cache directory there is none.
func (p *process) archive(java, jar string) []string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "isectech-emulators")
	info, err := os.Stat(jar)
	if err != nil || os.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	if resolved, err := filepath.EvalSymlinks(java); err == nil {
		java = resolved
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d %d", java, jar, info.Size(), info.ModTime().UnixNano()))
	name := filepath.Join(dir, "firestore-"+hex.EncodeToString(sum[:8])+".jsa")
	if _, err := os.Stat(name); err == nil {
		return []string{"-Xshare:auto", "-XX:SharedArchiveFile=" + name}
	}
	temp := fmt.Sprintf("%s.%d", name, os.Getpid())
	p.keep = func() { _ = os.Rename(temp, name) }
	return []string{"-XX:ArchiveClassesAtExit=" + temp}
}

// freePorts returns ports that nobody listens at.
func freePorts(n int) ([]int, error) {
	if n == 0 {
		return nil, nil
	}
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }() // once all others are chosen, so that none is chosen twice
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.New("no TCP address")
	}
	rest, err := freePorts(n - 1)
	return append(rest, addr.Port), err
}

// findJar looks for the emulator in the gcloud SDK: where CLOUDSDK_ROOT says, beside the gcloud in PATH,
// where gcloud itself says it lies, and where packages put it.
func findJar() (string, error) {
	var roots []string
	if root := os.Getenv("CLOUDSDK_ROOT"); root != "" {
		roots = append(roots, root)
	}
	if gcloud, err := exec.LookPath("gcloud"); err == nil {
		if resolved, err := filepath.EvalSymlinks(gcloud); err == nil {
			roots = append(roots, filepath.Dir(filepath.Dir(resolved)))
		}
	}
	roots = append(roots, "/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/usr/local/google-cloud-sdk",
		"/opt/google-cloud-sdk", "/google-cloud-sdk", "/opt/homebrew/share/google-cloud-sdk", "/snap/google-cloud-cli/current")
	if home, err := os.UserHomeDir(); err == nil {
		roots = append(roots, filepath.Join(home, "google-cloud-sdk"))
	}
	for _, root := range roots {
		if jar := filepath.Join(root, jarInSDK); exists(jar) {
			return jar, nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "gcloud", "info", "--format=value(installation.sdk_root)").Output(); err == nil {
		if jar := filepath.Join(strings.TrimSpace(string(out)), jarInSDK); exists(jar) {
			return jar, nil
		}
	}
	return "", fmt.Errorf("no %s in the gcloud SDK (gcloud components install cloud-firestore-emulator): %w", jarInSDK, fs.ErrNotExist)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
