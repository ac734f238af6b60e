// Package token mints and verifies access tokens: JWTs in the profile of RFC 9068, signed by a key
// that the header names by kid.
//
// A token is judged in three steps. Form and signature come first: compact serialization with strict
// base64url, a header without duplicate members, an algorithm that is the named key's own. Then the
// claims other than the audience: type, issuer, times, identity. The audience comes last and apart
// (Claims.CheckAudience), since what it ought to be depends on the request. Every refusal is an
// *auth.Refusal whose detail is safe to show and never repeats the token; any other error means that
// the key source could not be asked, and denies too.
//
// Keys are looked up by kid and nowhere else: jku, x5u, jwk and x5c in a header are text like any
// unknown member, so the signature alone decides. Symmetric algorithms have no key here; the opt-in
// HS256 mode of old clients is a verifier of its own (Legacy).
package token

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// The limits of every token.
const (
	// MaxSize is the length in bytes of the longest token.
	MaxSize = 8 << 10
	// MaxLifetime is the longest time between iat and exp.
	MaxLifetime = 15 * time.Minute
	// MaxLeeway is the largest difference of clocks that verification allows for.
	MaxLeeway = 30 * time.Second
)

// Type is the typ header of an access token (RFC 9068 §2.1).
const Type = "at+jwt"

// b64 is base64url without padding that refuses set spare bits. Like every decoder of encoding/base64
// it skips CR and LF, which callers rule out first.
var b64 = base64.RawURLEncoding.Strict()

// errIncomplete is the fault of a Verifier put together without its parts.
var errIncomplete = errors.New("token: verifier needs Keys and Now")

// Claims are what a token says, after its form was checked. On the wire the subject stands three
// times: sub, client_id and service_name.
type Claims struct {
	Issuer      string           // iss; empty when signing means auth.Issuer
	Subject     auth.Subject     // sub, client_id, service_name
	Audience    string           // aud, exactly one
	ServiceID   string           // service_id; empty when the credential named no instance
	Environment auth.Environment // environment; empty for operators alone
	Scopes      auth.Scopes      // scopes (array) and scope (RFC 8693 §4.2); unknown names grant nothing
	IssuedAt    time.Time        // iat
	NotBefore   time.Time        // nbf; zero when signing means IssuedAt, zero when absent from a token
	ExpiresAt   time.Time        // exp
	ID          string           // jti
	Thumbprint  string           // cnf.x5t#S256 (RFC 8705 §3.1): base64url SHA-256 of the certificate
	KeyID       string           // kid of the header that was verified; signing pays no attention to it
}

// CheckAudience refuses claims that were minted for someone else than want. An empty want is nobody.
func (c Claims) CheckAudience(want string) error {
	if want == "" || c.Audience != want {
		return auth.Refuse(auth.WrongAudience, "the token was issued for another audience")
	}
	return nil
}

// NewID returns a fresh token id: 128 random bits as 22 characters of base64url.
func NewID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails; it ends the process instead
	return b64.EncodeToString(id[:])
}

func malformed(detail string) error { return auth.Refuse(auth.MalformedToken, detail) }
