package contract

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
)

const (
	keysPath   = "/internal/auth/keys"
	rotatePath = "/internal/auth/keys/rotate"
	jwksPath   = "/.well-known/jwks.json"
)

// kids lists the keys that the key set holds.
func kids(t *testing.T, p *Platform) map[string]bool {
	t.Helper()
	a := p.Do(t, Request{Path: jwksPath})
	a.Want(t, http.StatusOK, "", "")
	if got := a.Header.Get("Cache-Control"); got != "public, max-age=300, must-revalidate" {
		t.Errorf("Cache-Control %q", got)
	}
	found := map[string]bool{}
	keys, _ := a.Body["keys"].([]any)
	for _, k := range keys {
		members, _ := k.(map[string]any)
		kid, _ := members["kid"].(string)
		found[kid] = true
		if members["d"] != nil {
			t.Error("a private key is published")
		}
	}
	return found
}

// A token of the key that follows is good at the registry, another function, as soon as there is one; one of
// the key before for as long as it lives.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	p := Start(t)
	policy := signingkeys.DefaultPolicy()
	rotate := func() Answer {
		a := p.Do(t, Request{Method: http.MethodPost, Path: rotatePath, Token: p.Operator(t)})
		a.Want(t, http.StatusOK, "", "")
		return a
	}
	issue := func() string {
		a := p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Sign: backend, Body: "grant_type=client_credentials", Type: form})
		a.Want(t, http.StatusOK, "", "")
		return a.String("access_token")
	}
	list := func(token string) Answer { return p.Do(t, Request{Path: servicesPath, Token: token}) }

	first := kids(t, p)
	list(issue()).Want(t, http.StatusOK, "", "")
	rotate()
	p.Clock.Advance(time.Second)
	if both := kids(t, p); len(both) != 2 {
		t.Errorf("published: %v", both)
	}
	p.Clock.Advance(policy.PublishBefore)
	old := issue()
	rotate()
	young := issue()
	for _, raw := range []string{old, young} {
		list(raw).Want(t, http.StatusOK, "", "")
		p.Do(t, Request{Path: validatePath, Token: raw}).Want(t, http.StatusOK, "", "allowed")
	}
	p.Clock.Advance(policy.RetireAfter + time.Second)
	if a := rotate(); len(kids(t, p)) != 2 { // the one that signs, and one in waiting
		t.Errorf("published after %s: %v", a.Text, kids(t, p))
	}
	for kid := range kids(t, p) {
		if first[kid] {
			t.Error("the first key is still published")
		}
	}
}

func TestKeysRefusals(t *testing.T) {
	t.Parallel()
	p := Start(t)
	service := p.Token(t, gateway, auth.PlatformAudience, auth.AllScopes)
	for name, r := range map[string]Request{
		"list":   {Path: keysPath},
		"rotate": {Method: http.MethodPost, Path: rotatePath, Body: "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.Do(t, r).Want(t, http.StatusUnauthorized, "authentication_required", "no_credentials")
			r.Token = service
			p.Do(t, r).Want(t, http.StatusForbidden, "insufficient_scope", "insufficient_scope")
			r.Token = p.Token(t, gateway, backend, auth.AllScopes)
			p.Do(t, r).Want(t, http.StatusUnauthorized, "authentication_failed", "wrong_audience")
		})
	}
}

// What old clients send is refused everywhere unless the configuration says otherwise.
func TestOldClients(t *testing.T) {
	t.Parallel()
	p := Start(t)
	claims := p.Issuer.ClaimsJSON(t, p.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover))
	mac := hmac.New(sha256.New, []byte(p.APIKey(t, backend).Key.Encode()))
	_, _ = io.WriteString(mac, backend)
	for name, r := range map[string]Request{
		"HS256":          {Token: authtest.HMAC(t, "HS256", []byte("0123456789abcdef0123456789abcdef"), `{"alg":"HS256","kid":"k1","typ":"JWT"}`, claims)},
		"legacy API key": {Header: http.Header{"X-Service-Name": {backend}, "X-Api-Key": {hex.EncodeToString(mac.Sum(nil))}}},
	} {
		for _, path := range []string{validatePath, servicesPath, keysPath} {
			r.Path = path
			t.Run(name+" "+path, func(t *testing.T) {
				t.Parallel()
				p.Do(t, r).Want(t, http.StatusUnauthorized, "authentication_failed", "bad_signature")
			})
		}
	}
}
