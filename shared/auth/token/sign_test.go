package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

func TestSignedClaims(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	c := gatewayClaims()
	c.ID = "AAECAwQFBgcICQoLDA0ODw"
	c.ServiceID = "api-gateway-001"
	c.Thumbprint = strings.Repeat("A", 43)
	const want = `{"iss":"isectech-platform","sub":"isectech-api-gateway","client_id":"isectech-api-gateway",` +
		`"aud":"isectech-backend-services","service_name":"isectech-api-gateway","service_id":"api-gateway-001",` +
		`"environment":"production","scopes":["api:read","api:write"],"scope":"api:read api:write",` +
		`"iat":1767528000,"nbf":1767528000,"exp":1767528300,"jti":"AAECAwQFBgcICQoLDA0ODw",` +
		`"cnf":{"x5t#S256":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}`
	if diff := cmp.Diff(want, a.ClaimsJSON(t, c)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	head, _, _ := strings.Cut(a.Token(t, c), ".")
	got, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || string(got) != a.Header() {
		t.Errorf("header %s, want %s", got, a.Header())
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.EdDSA)
	tests := map[string]func(*token.Claims){
		"no subject":               func(c *token.Claims) { c.Subject = auth.Subject{} },
		"no audience":              func(c *token.Claims) { c.Audience = "" },
		"audience with newline":    func(c *token.Claims) { c.Audience = "a\nb" },
		"issuer with newline":      func(c *token.Claims) { c.Issuer = "a\nb" },
		"no environment":           func(c *token.Claims) { c.Environment = "" },
		"unknown environment":      func(c *token.Claims) { c.Environment = "prod" },
		"service id":               func(c *token.Claims) { c.ServiceID = "A B" },
		"no id":                    func(c *token.Claims) { c.ID = "" },
		"long id":                  func(c *token.Claims) { c.ID = strings.Repeat("a", 129) },
		"no times":                 func(c *token.Claims) { c.IssuedAt, c.ExpiresAt = time.Time{}, time.Time{} },
		"too long a life":          func(c *token.Claims) { c.ExpiresAt = c.IssuedAt.Add(15*time.Minute + time.Second) },
		"no life":                  func(c *token.Claims) { c.ExpiresAt = c.IssuedAt },
		"life backwards":           func(c *token.Claims) { c.ExpiresAt = c.IssuedAt.Add(-time.Minute) },
		"life within a second":     func(c *token.Claims) { c.ExpiresAt = c.IssuedAt.Add(time.Millisecond) },
		"begins after the end":     func(c *token.Claims) { c.NotBefore = c.ExpiresAt },
		"thumbprint":               func(c *token.Claims) { c.Thumbprint = "AAAA" },
		"operator at a service":    func(c *token.Claims) { c.Subject = auth.MustSubject("operator:ops@isectech.com") },
		"longer than a token":      func(c *token.Claims) { c.Audience = strings.Repeat("a", 8<<10) },
		"far in the future":        func(c *token.Claims) { c.IssuedAt, c.ExpiresAt = year10000, year10000.Add(time.Minute) },
		"issued before the epoch":  func(c *token.Claims) { c.IssuedAt, c.ExpiresAt = time.Unix(-60, 0), time.Unix(60, 0) },
		"begins before the epoch":  func(c *token.Claims) { c.NotBefore = time.Unix(-1, 0) },
		"an operator's bad habits": func(c *token.Claims) { *c = operator(); c.Environment = "prod" },
	}
	for name, change := range tests {
		c := gatewayClaims()
		change(&c)
		if raw, err := a.Signer.Sign(c); !errors.Is(err, auth.ErrMalformed) || raw != "" {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
}

var year10000 = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

func operator() token.Claims {
	return authtest.Claims("operator:ops@isectech.com", auth.PlatformAudience, auth.AdminRead)
}

// remote is a key that can sign but whose type the signature layer cannot use.
type remote struct{ crypto.Signer }

func TestNewSignerRefuses(t *testing.T) {
	t.Parallel()
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, kid, alg string
		key            crypto.Signer
	}{
		{"no key", "k", token.ES256, nil},
		{"no kid", "", token.ES256, key},
		{"kid with newline", "a\nb", token.ES256, key},
		{"other algorithm", "k", token.EdDSA, key},
		{"HS256", "k", "HS256", key},
		{"none", "k", "none", key},
		{"P-384", "k", token.ES256, p384},
		{"remote", "k", token.ES256, remote{key}},
	} {
		if _, err := token.NewSigner(tc.kid, tc.alg, tc.key); !errors.Is(err, token.ErrInvalidKey) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestNewID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := token.NewID()
		if raw, err := base64.RawURLEncoding.Strict().DecodeString(id); err != nil || len(raw) != 16 || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestPrivateKeyRoundTrip(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		key, err := token.GenerateKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		text, err := token.MarshalPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		back, gotAlg, err := token.ParsePrivateKey(text)
		if err != nil || gotAlg != alg {
			t.Fatalf("%s: %q, %v", alg, gotAlg, err)
		}
		if !back.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key) {
			t.Errorf("%s: another key came back", alg)
		}
	}
	if _, err := token.GenerateKey("HS256"); !errors.Is(err, token.ErrInvalidKey) {
		t.Errorf("HS256: %v", err)
	}
	if _, err := token.MarshalPrivateKey(nil); !errors.Is(err, token.ErrInvalidKey) {
		t.Errorf("nil: %v", err)
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	t.Parallel()
	key, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	good, err := token.MarshalPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for name, data := range map[string][]byte{
		"empty":          nil,
		"not PEM":        []byte("secret"),
		"two blocks":     append(good[:len(good):len(good)], good...),
		"text before":    append([]byte("x\n"), good...),
		"text after":     append(good[:len(good):len(good)], "x"...),
		"other type":     pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}}),
		"with headers":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte{1}}),
		"not PKCS #8":    pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}),
		"P-384":          pkcs8(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"RSA of 1024":    pkcs8(rsa.GenerateKey(rand.Reader, 1024)),
		"public Ed25519": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.Public().(ed25519.PublicKey)}),
	} {
		if _, alg, err := token.ParsePrivateKey(data); !errors.Is(err, token.ErrInvalidKey) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q, %v", name, alg, err)
		}
	}
}
