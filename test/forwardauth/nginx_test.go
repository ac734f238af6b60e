package forwardauth

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What lies around the example in the package's own nginx.conf, but for the paths that only root may write to.
const nginxHTTP = `daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {}
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	include forward-auth.conf;
}
`

func startNGINX(t *testing.T, b *bench) string {
	t.Helper()
	binary, text := program(t, "nginx"), example(t, "nginx.conf")
	return start(t, func(listen string) *exec.Cmd {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "nginx.conf"), nginxHTTP)
		write(t, filepath.Join(dir, "forward-auth.conf"), fill(text, b.variables(listen)))
		return &exec.Cmd{
			Args: []string{binary, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"},
			Dir:  dir, Env: []string{"PATH=" + os.Getenv("PATH")},
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
