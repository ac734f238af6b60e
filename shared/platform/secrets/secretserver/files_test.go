package secretserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"

	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
)

// client returns our client of a server of its own on a directory, as another process would have it.
func client(t *testing.T, dir string) *secrets.Client {
	t.Helper()
	server, err := secretserver.Open(dir, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	c, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestFilesArePrivateAndSeenByOthers(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "secrets")
	writer, reader := client(t, dir), client(t, dir)
	ctx := t.Context()
	longest := strings.Repeat("n", 255)
	for _, name := range []string{"key", longest} {
		if err := writer.Create(ctx, name, nil); err != nil {
			t.Fatal(err)
		}
		for number, payload := range []string{"one", "two"} {
			if _, err := writer.AddVersion(ctx, name, []byte(payload)); err != nil {
				t.Fatal(err)
			}
			value, err := reader.Access(ctx, name, int64(number)+1)
			if err != nil || string(value.Reveal()) != payload {
				t.Errorf("the other process reads %q, %v; want %q", value.Reveal(), err, payload)
			}
		}
	}
	if err := writer.Destroy(ctx, "key", 1, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Access(ctx, "key", 1); !errors.Is(err, secrets.ErrDestroyed) {
		t.Errorf("the other process reads a destroyed version: %v", err)
	}
	if err := filepath.Walk(filepath.Dir(dir), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may look into it", path, info.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "key.json")); err != nil {
		t.Errorf("a secret's file has its name: %v", err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "key.json"))
	if err != nil || strings.Contains(string(content), "b25l") { // base64 of "one"
		t.Errorf("a destroyed payload is still in the file (%v)", err)
	}
}

func TestAnOpenDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := secretserver.Open(dir, time.Now); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open of a directory with mode 0750: %v, want an error that names it", err)
	}
	if _, err := secretserver.Open("/dev/null/secrets", time.Now); err == nil {
		t.Error("Open below a file: no error")
	}
}

// TestDamageIsNeverSilent changes each byte of a file in turn: the secret is then refused, with the
// file's name, or (where the change is within JSON's freedom) is what it was.
func TestDamageIsNeverSilent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := client(t, dir)
	ctx := t.Context()
	if err := c.Create(ctx, "key", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddVersion(ctx, "key", []byte("payload")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "key.json")
	intact, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		value, err := c.Access(ctx, "key", 1)
		switch {
		case err == nil && string(value.Reveal()) != "payload":
			t.Errorf("%s: reads %q", what, value.Reveal())
		case err != nil && (!errors.Is(err, secrets.ErrCorrupt) || !strings.Contains(err.Error(), "key.json")):
			t.Errorf("%s: %v, want ErrCorrupt with the file's name", what, err)
		case err != nil && strings.Contains(err.Error(), "payload\""):
			t.Errorf("%s: the error shows content: %v", what, err)
		}
		if err := c.Create(ctx, "key", nil); !errors.Is(err, secrets.ErrExists) {
			t.Errorf("%s: Create over it: %v, want ErrExists", what, err)
		}
		if err != nil {
			if _, err := c.AddVersion(ctx, "key", []byte("new")); !errors.Is(err, secrets.ErrCorrupt) {
				t.Errorf("%s: AddVersion on it: %v, want ErrCorrupt", what, err)
			}
		}
	}
	for i := range intact {
		bit := []byte{1, 0x20, 0x80}[i%3]
		damaged := append([]byte(nil), intact...)
		damaged[i] ^= bit
		check(fmt.Sprintf("byte %d ^ %#x", i, bit), damaged)
	}
	check("empty", nil)
	check("cut", intact[:len(intact)/2])
	check("twice", append(append([]byte(nil), intact...), intact...))
	check("another secret's", []byte(strings.ReplaceAll(string(intact), `"name":"key"`, `"name":"yek"`)))
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	raw := api(t, dir)
	if _, err := raw.ListSecrets(ctx, &pb.ListSecretsRequest{Parent: parent}).Next(); err == nil || !strings.Contains(err.Error(), "key.json") {
		t.Errorf("ListSecrets with a damaged file: %v, want an error that names it", err)
	}
}

func TestWritersTakeTurns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "secrets")
	clients := []*secrets.Client{client(t, dir), client(t, dir), client(t, dir)}
	ctx := t.Context()
	if err := clients[0].Create(ctx, "key", nil); err != nil {
		t.Fatal(err)
	}
	const each = 10
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		numbers = map[int64]string{}
	)
	for who, c := range clients {
		for i := range each {
			wg.Go(func() {
				payload := fmt.Sprintf("%d-%d", who, i)
				number, err := c.AddVersion(ctx, "key", []byte(payload))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if numbers[number] != "" {
					t.Errorf("version %d was given to %s and %s", number, numbers[number], payload)
				}
				numbers[number] = payload
			})
		}
	}
	wg.Wait()
	for number := range int64(len(clients) * each) {
		value, err := clients[0].Access(ctx, "key", number+1)
		if err != nil || string(value.Reveal()) != numbers[number+1] {
			t.Errorf("version %d is %q (%v), want %q", number+1, value.Reveal(), err, numbers[number+1])
		}
	}
	var created int
	for range 20 {
		wg.Go(func() {
			err := clients[1].Create(ctx, "once", nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else if !errors.Is(err, secrets.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if created != 1 {
		t.Errorf("%d of 20 made the secret, want 1", created)
	}
}

// TestKilledWriterLosesNothing kills a process that adds versions as fast as it can; every version that
// it had been told of is there, and so is no unfinished file.
func TestKilledWriterLosesNothing(t *testing.T) {
	const childDir = "SECRETSERVER_TEST_DIR"
	if dir := os.Getenv(childDir); dir != "" {
		c := client(t, dir)
		if err := c.Create(t.Context(), "key", nil); err != nil {
			t.Fatal(err)
		}
		for {
			number, err := c.AddVersion(t.Context(), "key", []byte("payload"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println("added", number)
		}
	}
	t.Parallel()
	for round := range 3 {
		dir := filepath.Join(t.TempDir(), "secrets")
		child := exec.Command(os.Args[0], "-test.run=^TestKilledWriterLosesNothing$") //nolint:noctx // this test itself, killed below
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var told int64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, _ := fmt.Sscanf(lines.Text(), "added %d", &told); n == 1 && told == int64(10+round*7) {
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = child.Wait() // always "killed"
		if err := os.WriteFile(filepath.Join(dir, ".tmp-1234"), []byte("half a sec"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := client(t, dir)
		versions, err := c.Versions(t.Context(), "key")
		if err != nil || int64(len(versions)) < told || told == 0 {
			t.Errorf("%d versions after the kill (%v), %d were acknowledged", len(versions), err, told)
		}
		for _, v := range versions {
			if value, err := c.Access(t.Context(), "key", v.Number); err != nil || string(value.Reveal()) != "payload" {
				t.Errorf("version %d: %q, %v", v.Number, value.Reveal(), err)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".tmp-*")); len(left) > 0 {
			t.Errorf("unfinished files are left: %v", left)
		}
	}
}
