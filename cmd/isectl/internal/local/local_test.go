package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/credential"
	"github.com/isectech/service-networking/cmd/isectl/internal/local"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

const (
	gateway = "isectech-api-gateway"
	backend = "isectech-backend-services"
)

// platform is a running platform.
type platform struct {
	local.Info
	dir local.Dir
}

// run runs a platform in this process until the test ends. Its error comes back when it ends earlier.
func run(t *testing.T, dir local.Dir, port string, env map[string]string) (*platform, error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan local.Info, 1), make(chan error, 1)
	go func() {
		done <- local.Run(ctx, local.Options{
			Dir: dir, Port: port, Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			Now: time.Now, Logs: io.Discard, Ready: func(info local.Info) { ready <- info },
		})
	}()
	select {
	case err := <-done:
		stop()
		if err == nil {
			t.Fatal("the platform ended at once, and well")
		}
		return nil, err
	case info := <-ready:
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("the platform ended with %v", err)
			}
		})
		return &platform{info, dir}, nil
	}
}

func mustRun(t *testing.T, dir local.Dir, env map[string]string) *platform {
	t.Helper()
	p, err := run(t, dir, "0", env)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// spawn runs a platform in a process of its own.
func spawn(t *testing.T, dir local.Dir) (*platform, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:noctx // it is killed, which is what is tested
	cmd.Env = append(os.Environ(), asPlatform+"="+string(dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unless it has been
		_ = cmd.Wait()
	})
	p := &platform{dir: dir}
	if err := json.NewDecoder(out).Decode(&p.Info); err != nil {
		t.Fatal(err)
	}
	return p, cmd
}

// request makes a call, and returns its status and body.
func (p *platform) request(t *testing.T, method, path, body string, header http.Header) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.Server+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatalf("%s %s: %d: %v", method, path, res.StatusCode, err)
	}
	return res.StatusCode, answer
}

// sign returns the headers of a form that a service signs for a path at an address.
func (p *platform) sign(t *testing.T, service, method, target, body string) http.Header {
	t.Helper()
	server, err := secretserver.Open(p.dir.Secrets(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	client, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	key, err := credential.ReadAPIKey(t.Context(), client, service)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	signer := signature.Signer{Service: key.Service, KeyID: key.KeyID, Key: key.Key, Now: time.Now}
	if err := signer.SignHTTP(r, []byte(body)); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.Header
}

const (
	tokenPath = "/internal/auth/token"
	tokenForm = "grant_type=client_credentials"
)

// bearer returns the headers of a call in JSON with a service's token.
func (p *platform) bearer(t *testing.T, service string) http.Header {
	t.Helper()
	status, answer := p.request(t, http.MethodPost, tokenPath, tokenForm, p.sign(t, service, http.MethodPost, p.Server+tokenPath, tokenForm))
	token, _ := answer["access_token"].(string)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
}

// operator returns the headers of a call in JSON by the operator.
func (p *platform) operator(t *testing.T) http.Header {
	t.Helper()
	assertion, err := credential.Operator{Email: p.Operator, Key: p.OperatorKey, KeyID: p.OperatorKeyID}.Assertion(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	status, answer := p.request(t, http.MethodPost, tokenPath, "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion="+assertion,
		http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	token, _ := answer["access_token"].(string)
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
}

// newDir returns a directory that no platform has run in.
func newDir(t *testing.T) local.Dir { return local.Dir(filepath.Join(t.TempDir(), "state")) }

func TestKilledAndRestarted(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first, process := spawn(t, dir)
	used := first.sign(t, gateway, http.MethodPost, "http://registry.test"+tokenPath, tokenForm)
	replay := func(p *platform) (int, map[string]any) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Server+tokenPath, strings.NewReader(tokenForm))
		if err != nil {
			t.Fatal(err)
		}
		r.Header, r.Host = used.Clone(), "registry.test" // the port is another after the restart
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var answer map[string]any
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, answer
	}
	if status, answer := replay(first); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	bearer := first.bearer(t, backend)
	status, answer := first.request(t, http.MethodPost, "/internal/registry/register",
		`{"service_id":"backend-services-1","service_name":"backend","version":"1.0.0","environment":"production",
		"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443}]}`, bearer)
	if status != http.StatusCreated {
		t.Fatalf("%d %v", status, answer)
	}
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()

	second, _ := spawn(t, dir)
	if second.OperatorKey != first.OperatorKey || second.PID == first.PID {
		t.Error("the operator's credential is another, or the process is the same")
	}
	if status, answer := replay(second); status != http.StatusUnauthorized || answer["reason"] != "replayed" {
		t.Errorf("a used nonce after the restart: %d %v", status, answer)
	}
	if status, answer := second.request(t, http.MethodGet, "/internal/registry/services/backend-services-1", "", bearer); status != http.StatusOK {
		t.Errorf("what was registered, by a token of before: %d %v", status, answer)
	}
	status, answer = second.request(t, http.MethodGet, "/internal/journal?verify=true", "", second.operator(t))
	if faults, ok := answer["faults"].([]any); status != http.StatusOK || ok && len(faults) > 0 {
		t.Errorf("the journal: %d %v", status, answer)
	}
}

func TestOnePlatformADirectory(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := mustRun(t, dir, nil)
	if _, err := run(t, dir, "0", nil); !errors.Is(err, boltstore.ErrLocked) || !strings.Contains(err.Error(), dir.Store()) {
		t.Errorf("a second platform: %v", err)
	}
	if _, err := local.Bootstrap(t.Context(), dir, time.Now); !errors.Is(err, boltstore.ErrLocked) {
		t.Errorf("bootstrap: %v", err)
	}
	if info, err := dir.ReadInfo(); err != nil || info != p.Info {
		t.Errorf("local.json is the second one's: %+v %v", info, err)
	}
	p.bearer(t, gateway)
}

func TestBootstrapOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	for again := range 2 {
		parts, err := local.Bootstrap(t.Context(), dir, time.Now)
		if err != nil || len(parts) < 8 {
			t.Fatalf("%v %v", parts, err)
		}
		for _, part := range parts {
			if part.Created != (again == 0) {
				t.Errorf("%s: created %v", part.Name, part.Created)
			}
		}
	}
	// A key whose secret is gone is not made again, and nobody else pays for it.
	if err := os.Remove(filepath.Join(dir.Secrets(), "isectech-api-key-"+gateway+".json")); err != nil {
		t.Fatal(err)
	}
	p := mustRun(t, dir, nil)
	p.bearer(t, backend)
	if _, err := os.Stat(filepath.Join(dir.Secrets(), "isectech-api-key-"+gateway+".json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lost key was made again: %v", err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	for _, bad := range []string{port, "99999", "x"} {
		if _, err := run(t, dir, bad, nil); err == nil || !strings.HasPrefix(err.Error(), "PORT: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("port %s: %v", bad, err)
		}
	}
	if _, err := dir.ReadInfo(); !errors.Is(err, local.ErrNoPlatform) {
		t.Errorf("local.json of a platform that never ran: %v", err)
	}
	mustRun(t, dir, nil)
}

// A credential that cannot be read is never replaced by another.
func TestDamagedInfo(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := dir.Prepare(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(dir), "local.json")
	for _, damaged := range []string{
		"", "{", "{}", "null", "[]", "\x00\x00", `{"server":"http://127.0.0.1:1"}`,
		`{"operator":"operator@local.isectech.com","operator_key":"","operator_key_id":"x"}`,
		`{"operator":"operator@local.isectech.com","operator_key":"garbage","operator_key_id":"x"}`,
	} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := run(t, dir, "0", nil); err == nil || !strings.Contains(err.Error(), "local.json") {
			t.Errorf("%q: %v", damaged, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, []byte(damaged)) {
			t.Errorf("%q became %q: %v", damaged, now, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dir, nil).operator(t)
}

func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := run(t, local.Dir(dir), "0", nil); err == nil {
			t.Errorf("%s: the platform runs", dir)
		}
	}
	store := newDir(t)
	if err := os.MkdirAll(store.Store(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, store, "0", nil); err == nil {
		t.Error("the platform runs with a directory for its store")
	}
	if os.Geteuid() == 0 {
		t.Skip("root can write to a directory that is read-only")
	}
	readOnly := t.TempDir()
	if err := os.Chmod(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, local.Dir(readOnly), "0", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a directory that is read-only: %v", err)
	}
}

// Nothing that is kept can be read by anyone else.
func TestModes(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	mustRun(t, dir, nil)
	err := filepath.WalkDir(string(dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A proxy of the user's own proves itself by the marker that the user says.
func TestOwnMarker(t *testing.T) {
	t.Parallel()
	const marker = "a-marker-of-the-users-own"
	ask := func(p *platform) (int, map[string]any) {
		h := p.sign(t, gateway, http.MethodPost, "https://backend.isectech.com/v1/x?a=1", "")
		h.Set("X-ISECTECH-Proxy-Marker", marker)
		h.Set("X-Forwarded-Method", "POST")
		h.Set("X-Forwarded-Uri", "/v1/x?a=1")
		h.Set("X-Forwarded-Host", "backend.isectech.com")
		h.Set("X-Target-Service", backend)
		return p.request(t, http.MethodGet, "/internal/auth/validate", "", h)
	}
	said := mustRun(t, newDir(t), map[string]string{"TRUSTED_PROXY_MARKER": marker + ",another-marker-for-later"})
	if status, answer := ask(said); status != http.StatusOK {
		t.Errorf("%d %v", status, answer)
	}
	// The registry asks authz about signatures with it too.
	path := "/internal/registry/services"
	if status, answer := said.request(t, http.MethodGet, path, "", said.sign(t, gateway, http.MethodGet, said.Server+path, "")); status != http.StatusOK {
		t.Errorf("%d %v", status, answer)
	}
	unsaid := mustRun(t, newDir(t), map[string]string{"TRUSTED_PROXY_MARKER": ""})
	if status, answer := ask(unsaid); status != http.StatusUnauthorized {
		t.Errorf("%d %v", status, answer)
	}
	if _, err := run(t, newDir(t), "0", map[string]string{"TRUSTED_PROXY_MARKER": "short"}); err == nil || !strings.Contains(err.Error(), "TRUSTED_PROXY_MARKER") {
		t.Errorf("a marker that can be guessed: %v", err)
	}
}

func TestAddService(t *testing.T) {
	t.Parallel()
	p := mustRun(t, newDir(t), nil)
	add := func(header http.Header, body string) (int, map[string]any) {
		return p.request(t, http.MethodPost, "/internal/local/services", body, header)
	}
	good := `{"name":"isectech-billing","entry":{"environments":["production"],"scopes":["service:discover"]}}`
	for _, tc := range []struct{ name, body, field string }{
		{"an operator's name", `{"name":"operator:x@isectech.com","entry":{"environments":["production"]}}`, "name"},
		{"no name", `{"name":"A B","entry":{"environments":["production"]}}`, "name"},
		{"the platform's name", `{"name":"isectech-services","entry":{"environments":["production"]}}`, "entry"},
		{"another's alias", `{"name":"isectech-x","entry":{"environments":["production"],"aliases":["backend"]}}`, "entry"},
		{"no such scope", `{"name":"isectech-x","entry":{"environments":["production"],"scopes":["root"]}}`, "entry"},
		{"no environment", `{"name":"isectech-x","entry":{}}`, "entry"},
	} {
		status, answer := add(p.operator(t), tc.body)
		fields, _ := answer["fields"].([]any)
		if status != http.StatusBadRequest || len(fields) != 1 || fields[0].(map[string]any)["field"] != tc.field {
			t.Errorf("%s: %d %v", tc.name, status, answer)
		}
	}
	if status, answer := add(p.bearer(t, gateway), good); status != http.StatusForbidden {
		t.Errorf("a service adds a service: %d %v", status, answer)
	}
	if status, answer := add(http.Header{}, good); status != http.StatusUnauthorized {
		t.Errorf("anyone adds a service: %d %v", status, answer)
	}
	for _, made := range []bool{true, false} {
		status, answer := add(p.operator(t), good)
		parts, _ := answer["parts"].([]any)
		if status != http.StatusOK || len(parts) != 2 || parts[0].(map[string]any)["created"] != made || parts[1].(map[string]any)["created"] != made {
			t.Errorf("%d %v", status, answer)
		}
	}
}
