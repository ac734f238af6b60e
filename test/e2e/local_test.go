package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/test/devtest"
)

// Local is the platform in one process, `isectl dev`.
type Local struct {
	dev     *devtest.Platform
	secrets *secrets.Client
}

var _ Platform = (*Local)(nil)

// TestLocal tells the story on one process.
func TestLocal(t *testing.T) {
	p := startLocal(t)
	t.Run("story", func(t *testing.T) { tellStory(t, p) })
}

func startLocal(t *testing.T) *Local {
	t.Helper()
	p := &Local{dev: devtest.Start(t, devtest.Build(t), filepath.Join(t.TempDir(), "local"))}
	vault, err := secretserver.Open(filepath.Join(p.dev.LocalDir, "secrets"), time.Now)
	check(t, err)
	t.Cleanup(func() { _ = vault.Close() })
	p.secrets, err = vault.Client(t.Context())
	check(t, err)
	t.Cleanup(func() { _ = p.secrets.Close() })
	return p
}

// Authz implements Platform.
func (p *Local) Authz() string { return p.dev.URL }

// Registers implements Platform.
func (p *Local) Registers() []string { return []string{p.dev.URL} }

// Signer implements Platform.
func (p *Local) Signer(t testing.TB, service string) signature.Signer {
	t.Helper()
	return apiKey(t, p.secrets, service)
}

// PubSub implements Platform.
func (p *Local) PubSub() (address, project string) {
	var info struct {
		PubSub string `json:"pubsub"`
	}
	data, err := os.ReadFile(filepath.Join(p.dev.LocalDir, "local.json"))
	if err == nil {
		_ = json.Unmarshal(data, &info) // without an address the client says so
	}
	return info.PubSub, "local"
}

// Restart implements Platform.
func (p *Local) Restart(t testing.TB) {
	t.Helper()
	p.dev.Kill(t)
	p.dev = devtest.Start(t, p.dev.Binary, p.dev.LocalDir)
}

// Verify implements Platform.
func (p *Local) Verify(t testing.TB) {
	t.Helper()
	if out, status := p.dev.Run(t, "", "journal", "verify"); status != 0 {
		t.Errorf("isectl journal verify: status %d\n%s", status, out)
	}
}
