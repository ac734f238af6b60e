package forwardauth

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What stands before the example, so that nothing of Caddy's own listens.
const caddyGlobal = `{
	admin off
	default_bind 127.0.0.1
	auto_https off
}
import forward-auth
`

func startCaddy(t *testing.T, b *bench) string {
	t.Helper()
	binary, text := program(t, "caddy"), example(t, "Caddyfile")
	return start(t, func(listen string) *exec.Cmd {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "Caddyfile"), caddyGlobal)
		write(t, filepath.Join(dir, "forward-auth"), text)
		env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir}
		_, port, _ := net.SplitHostPort(listen)
		values := b.variables(listen)
		values["SITE"] = "http://:" + port // whatever host a client names
		for name, value := range values {
			env = append(env, name+"="+value)
		}
		return &exec.Cmd{
			Args: []string{binary, "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile"},
			Dir:  dir, Env: env,
		}
	})
}
