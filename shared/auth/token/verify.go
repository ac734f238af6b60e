package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/auth"
)

// Verifier judges access tokens. It is safe for concurrent use when its parts are.
type Verifier struct {
	// Keys holds the keys by kid.
	Keys Keys
	// Issuer is the issuer that tokens must have; empty means auth.Issuer.
	Issuer string
	// Now is the clock.
	Now func() time.Time
	// Leeway is how far clocks may differ: 0 means MaxLeeway, which is also the most there is, and a
	// negative value none.
	Leeway time.Duration
	// Cache remembers tokens that were verified; without one each is verified each time.
	Cache *Cache
}

// Verify judges everything about a token but its audience. The claims are the zero value unless the
// error is nil.
//
// Reasons: malformed_token (form, type, missing or impossible claims, a lifetime above MaxLifetime),
// unknown_key, bad_signature, wrong_issuer, expired, not_yet_valid, identity_mismatch (sub, client_id
// and service_name name different callers). An error that is no *auth.Refusal says that the key source
// is unavailable.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	claims, err := v.VerifyAt(ctx, raw, Moment{})
	if err != nil {
		return Claims{}, err
	}
	return *claims, nil
}

// Moment is when a token is judged, and by what. The zero one is now.
type Moment struct {
	Now time.Time
	// Keys are those that Verifier.Keys would go by now, where they are at hand.
	Keys *KeySet
}

// VerifyAt is Verify for whoever has looked at the clock already. The claims are shared with others.
func (v *Verifier) VerifyAt(ctx context.Context, raw string, at Moment) (*Claims, error) {
	if v.Now == nil {
		return nil, errIncomplete
	}
	if at.Now.IsZero() {
		at.Now = v.Now()
	}
	if t := v.Cache.find(raw); t != nil {
		if t.holds(v, at) {
			return &t.claims, nil
		}
		if ok, err := v.judgeAgain(ctx, t, at.Now); err != nil {
			return nil, err
		} else if ok {
			return &t.claims, nil
		}
	}
	c, err := v.verifySignature(ctx, raw)
	if err != nil {
		return nil, err
	}
	if !c.header.isAccessToken() {
		return nil, malformed("header: typ is not " + Type)
	}
	claims, err := v.verifyClaims(c, at.Now)
	if err != nil {
		return nil, err
	}
	return v.keep(raw, c, claims), nil
}

// verifyClaims judges the claims of a token whose signature is good.
func (v *Verifier) verifyClaims(c compact, now time.Time) (Claims, error) {
	var w wireClaims
	if err := decodeStrict(c.payload, &w, "claims"); err != nil {
		return Claims{}, err
	}
	claims, err := w.claims()
	if err != nil {
		return Claims{}, err
	}
	if err := v.judge(&claims, now); err != nil {
		return Claims{}, err
	}
	if !w.sameIdentity() {
		return Claims{}, auth.Refuse(auth.IdentityMismatch, "sub, client_id and service_name differ")
	}
	claims.KeyID = c.header.KeyID.value
	return claims, nil
}

// judgeAgain judges a token that was verified before by what may have changed since: whether its key is still
// one, and the time. It is false when the token has to be verified.
func (v *Verifier) judgeAgain(ctx context.Context, t *cached, now time.Time) (bool, error) {
	key, err := v.key(ctx, t.key.ID)
	if err != nil || !key.same(t.key) {
		return false, err
	}
	return true, v.judge(&t.claims, now)
}

// VerifySignature judges form, key, algorithm and signature alone: neither typ nor any claim. It
// returns the payload when that is a strict JSON object, and nil otherwise.
func (v *Verifier) VerifySignature(ctx context.Context, raw string) (json.RawMessage, error) {
	c, err := v.verifySignature(ctx, raw)
	if err != nil {
		return nil, err
	}
	if payload := jsontext.Value(c.payload); payload.Kind() == '{' && payload.IsValid() {
		return json.RawMessage(payload), nil
	}
	return nil, nil
}

func (v *Verifier) verifySignature(ctx context.Context, raw string) (compact, error) {
	if v.Keys == nil {
		return compact{}, errIncomplete
	}
	c, err := split(raw, v.Cache.lastHeader())
	if err != nil {
		return compact{}, err
	}
	kid := c.header.KeyID.value
	if !validKeyID(kid) { // no key can have it, so the source need not see it
		return compact{}, auth.Refuse(auth.UnknownKey, "no key has this kid")
	}
	key, err := v.key(ctx, kid)
	if err != nil {
		return compact{}, err
	}
	if key.Algorithm != c.header.Algorithm.value {
		return compact{}, auth.Refuse(auth.BadSignature, "the algorithm is not the key's")
	}
	if err := key.fit(); err != nil {
		return compact{}, fmt.Errorf("look up the signing key: %w", err)
	}
	if signingMethod(key.Algorithm).Verify(c.signed, c.signature, key.Public) != nil {
		return compact{}, auth.Refuse(auth.BadSignature, "the signature does not verify")
	}
	c.key = key
	return c, nil
}

// key looks up the key that a token names.
func (v *Verifier) key(ctx context.Context, kid string) (Key, error) {
	key, err := v.Keys.Key(ctx, kid)
	switch {
	case err == nil:
		return key, nil
	case errors.Is(err, ErrUnknownKey):
		return Key{}, auth.Refuse(auth.UnknownKey, "no key has this kid")
	default:
		return Key{}, fmt.Errorf("look up the signing key: %w", err)
	}
}

// judge compares well-formed claims with the clock and the issuer. Expiry and validity come before the
// lifetime, so that an old token is called expired whatever else it says.
func (v *Verifier) judge(c *Claims, now time.Time) error {
	issuer, leeway := v.Issuer, v.leeway()
	if issuer == "" {
		issuer = auth.Issuer
	}
	switch latest := now.Add(leeway); {
	case c.Issuer != issuer:
		return auth.Refuse(auth.WrongIssuer, "the token is another issuer's")
	case !now.Add(-leeway).Before(c.ExpiresAt):
		return auth.Refuse(auth.Expired, "the token has expired")
	case c.NotBefore.After(latest) || c.IssuedAt.After(latest):
		return auth.Refuse(auth.NotYetValid, "the token is not valid yet")
	case c.ExpiresAt.Sub(c.IssuedAt) > MaxLifetime:
		return malformed("the lifetime is above 15 minutes")
	case !c.ExpiresAt.After(c.IssuedAt) || !c.ExpiresAt.After(c.NotBefore):
		return malformed("the token ends before it begins")
	}
	return nil
}

func (v *Verifier) leeway() time.Duration {
	if v.Leeway == 0 || v.Leeway > MaxLeeway {
		return MaxLeeway
	}
	return max(v.Leeway, 0)
}
