package token

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// HS256 is the symmetric algorithm of old clients (RFC 7518 §3.2). No Key has it.
const HS256 = "HS256"

// minSecret is the length in bytes of the shortest secret of HS256 (RFC 7518 §3.2).
const minSecret = 32

// ErrShortSecret is what a secret is refused with that anybody could guess.
var ErrShortSecret = errors.New("the secret of HS256 has less than 32 bytes")

// Legacy is the opt-in verifier of tokens that old clients sign themselves, with a secret that they share
// with the platform. Whoever verifies such a token could have made it, and every holder of the secret can
// speak for every service: it is for the time in which the last of them moves to a key of its own.
//
// Its secret is found under one kid and with the algorithm HS256 alone, and no other verifier ever sees
// it; whatever is not such a token goes to Next untouched. So no public key can be taken for a secret, nor a
// secret for a key.
type Legacy struct {
	// Next judges every other token; its clock, issuer and leeway hold for these too.
	Next *Verifier
	// KeyID is the kid that names the secret.
	KeyID string
	// Secret returns the secret. Its errors say that it cannot be read, which is no refusal.
	Secret func(ctx context.Context) ([]byte, error)
}

// Verify judges everything about a token but its audience, like Verifier.Verify. The claims are held to
// the same rules; typ may be JWT or missing, and the subject is a service: no operator speaks by a secret
// that services share.
func (l *Legacy) Verify(ctx context.Context, raw string) (Claims, error) {
	claims, err := l.VerifyAt(ctx, raw, Moment{})
	if err != nil {
		return Claims{}, err
	}
	return *claims, nil
}

// VerifyAt is Verify at a moment, like Verifier.VerifyAt.
func (l *Legacy) VerifyAt(ctx context.Context, raw string, at Moment) (*Claims, error) {
	if l.Next == nil || l.Next.Now == nil || l.Secret == nil || l.KeyID == "" {
		return nil, errIncomplete
	}
	c, err := cut(raw, l.Next.Cache.lastHeader())
	if err != nil || c.header.Algorithm.value != HS256 || c.header.KeyID.value != l.KeyID {
		return l.Next.VerifyAt(ctx, raw, at)
	}
	if at.Now.IsZero() {
		at.Now = l.Next.Now()
	}
	claims, err := l.verify(ctx, c, at.Now)
	if err != nil {
		return nil, err
	}
	return &claims, nil
}

func (l *Legacy) verify(ctx context.Context, c compact, now time.Time) (Claims, error) {
	if c.header.Critical != nil || c.header.Base64 != nil {
		return Claims{}, malformed("crit and b64 are not supported")
	}
	if typ := c.header.Type; typ.set && !strings.EqualFold(typ.value, "JWT") && !c.header.isAccessToken() {
		return Claims{}, malformed("header: typ is neither JWT nor " + Type)
	}
	secret, err := l.Secret(ctx)
	if err != nil {
		return Claims{}, fmt.Errorf("read the secret of HS256: %w", err)
	}
	if err := CheckSecret(secret); err != nil {
		return Claims{}, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(c.signed))
	if !hmac.Equal(mac.Sum(nil), c.signature) {
		return Claims{}, auth.Refuse(auth.BadSignature, "the signature does not verify")
	}
	claims, err := l.Next.verifyClaims(c, now)
	if err == nil && claims.Subject.IsOperator() {
		return Claims{}, auth.Refuse(auth.IdentityMismatch, "an operator cannot speak by a shared secret")
	}
	if err != nil {
		return Claims{}, err
	}
	return claims, nil
}

// CheckSecret refuses a secret of HS256 that is too short, white space around it not counted.
func CheckSecret(secret []byte) error {
	if len(bytes.TrimSpace(secret)) < minSecret {
		return ErrShortSecret
	}
	return nil
}
