// Package authtest helps the tests of other packages to hold real credentials: an Authority that mints
// tokens, honest and hostile, and a Client that signs requests. Everything it makes is genuine and made
// afresh; nothing is stored.
package authtest

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/token"
)

// Now is the time at which everything that this package makes is valid.
var Now = time.Date(2026, time.January, 4, 12, 0, 0, 0, time.UTC)

// Clock returns Now.
func Clock() time.Time { return Now }

// Authority is an issuer of tokens with one key, whose id is its thumbprint.
type Authority struct {
	Signer *token.Signer
	Key    crypto.Signer
}

// NewAuthority returns an authority with a new key for the algorithm.
func NewAuthority(tb testing.TB, algorithm string) *Authority {
	tb.Helper()
	key, err := token.GenerateKey(algorithm)
	if err != nil {
		tb.Fatal(err)
	}
	kid, err := token.Thumbprint(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := token.NewSigner(kid, algorithm, key)
	if err != nil {
		tb.Fatal(err)
	}
	return &Authority{Signer: signer, Key: key}
}

// Keys returns the set of the authority's key and those of others.
func (a *Authority) Keys(tb testing.TB, others ...*Authority) *token.KeySet {
	tb.Helper()
	keys := []token.Key{a.Signer.Public()}
	for _, other := range others {
		keys = append(keys, other.Signer.Public())
	}
	set, err := token.NewKeySet(keys...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// Verifier returns a verifier of the authority's tokens at Now.
func (a *Authority) Verifier(tb testing.TB, others ...*Authority) *token.Verifier {
	tb.Helper()
	return &token.Verifier{Keys: a.Keys(tb, others...), Now: Clock}
}

// Claims returns claims of a caller in production, issued Now and good for five minutes.
func Claims(subject, audience string, scopes auth.Scopes) token.Claims {
	return token.Claims{
		Subject: auth.MustSubject(subject), Audience: audience, Environment: auth.Production, Scopes: scopes,
		IssuedAt: Now, ExpiresAt: Now.Add(5 * time.Minute), ID: token.NewID(),
	}
}

// Token mints an honest token.
func (a *Authority) Token(tb testing.TB, c token.Claims) string {
	tb.Helper()
	raw, err := a.Signer.Sign(c)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// Header returns the JSON of the header that honest tokens have.
func (a *Authority) Header() string {
	k := a.Signer.Public()
	return `{"alg":"` + k.Algorithm + `","kid":"` + k.ID + `","typ":"` + token.Type + `"}`
}

// ClaimsJSON returns the JSON of the claims as an honest token has them.
func (a *Authority) ClaimsJSON(tb testing.TB, c token.Claims) string {
	tb.Helper()
	payload, err := (&token.Verifier{Keys: a.Keys(tb)}).VerifySignature(tb.Context(), a.Token(tb, c))
	if err != nil {
		tb.Fatal(err)
	}
	return string(payload)
}

// Raw signs any header and payload with the authority's key, whatever they say.
func (a *Authority) Raw(tb testing.TB, header, payload string) string {
	tb.Helper()
	return sign(tb, jwt.GetSigningMethod(a.Signer.Public().Algorithm), a.Key, header, payload)
}

// PublicPEM returns the authority's public key as text, the secret of the oldest attack on JWTs.
func (a *Authority) PublicPEM(tb testing.TB) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(a.Key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// HMAC signs any header and payload with HS256, HS384 or HS512.
func HMAC(tb testing.TB, algorithm string, secret []byte, header, payload string) string {
	tb.Helper()
	return sign(tb, jwt.GetSigningMethod(algorithm), secret, header, payload)
}

// Unsigned returns a token with an empty signature.
func Unsigned(header, payload string) string { return encode(header) + "." + encode(payload) + "." }

// With returns the JSON object with a member set to a raw JSON value, or without it when value is empty.
func With(tb testing.TB, object, name, value string) string {
	tb.Helper()
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(object), &members); err != nil {
		tb.Fatal(err)
	}
	delete(members, name)
	if value != "" {
		members[name] = json.RawMessage(value)
	}
	out, err := json.Marshal(members)
	if err != nil {
		tb.Fatal(err)
	}
	return string(out)
}

func sign(tb testing.TB, method jwt.SigningMethod, key any, header, payload string) string {
	tb.Helper()
	signed := encode(header) + "." + encode(payload)
	sig, err := method.Sign(signed, key)
	if err != nil {
		tb.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
