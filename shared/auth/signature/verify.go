package signature

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Skew is how far a timestamp may be from the verifier's clock, both ways.
const Skew = 5 * time.Minute

// nonceLife is how long a nonce is remembered, counted from the later of receipt and timestamp: longer
// than its request can be accepted anywhere, with a whole Skew between the clocks of two instances.
const nonceLife = 2 * Skew

// ErrUnknownKey is what a Keys returns for a service or a key id that it does not know.
var ErrUnknownKey = errors.New("unknown key")

// ErrReplayed is what a Nonces returns for a nonce that was used before.
var ErrReplayed = errors.New("nonce was used before")

// errIncomplete is the fault of a Verifier put together without its parts.
var errIncomplete = errors.New("signature: verifier needs Keys, Nonces and Now")

// Keys finds the secret of a service by the id of its version. Both names are well formed and the
// caller's. Key returns an error that wraps ErrUnknownKey when there is no such valid key; any other
// error means that the source cannot be reached.
type Keys interface {
	Key(ctx context.Context, service auth.Subject, keyID string) (Key, error)
}

// Nonces remembers what was used. Use succeeds once for a key: until the time has passed every other Use
// of it returns an error that wraps ErrReplayed, also when both come at once. Any other error means that
// nothing is known of the nonce, and the request is refused.
type Nonces interface {
	Use(ctx context.Context, key string, until time.Time) error
}

// Verifier judges signed requests. It is safe for concurrent use when its parts are.
type Verifier struct {
	Keys   Keys
	Nonces Nonces
	Now    func() time.Time
}

// Verify judges a request and the MAC that came with it, and uses up its nonce.
//
// Reasons, in order of judgement: bad_signature (something is not in its form; the detail says what),
// expired and not_yet_valid (the timestamp is more than Skew away), unknown_key, bad_signature (another
// MAC), replayed, nonce_unavailable. An error that is no *auth.Refusal says that the key source is
// unavailable.
func (v *Verifier) Verify(ctx context.Context, r Request, mac string) error {
	if v.Keys == nil || v.Nonces == nil || v.Now == nil {
		return errIncomplete
	}
	message, err := r.StringToSign()
	if err != nil {
		return auth.Refuse(auth.BadSignature, err.Error())
	}
	if !validDigest(mac) {
		return auth.Refuse(auth.BadSignature, HeaderKey+": want 64 characters of lower-case hex")
	}
	service, err := auth.ParseSubject(r.Service)
	if err != nil {
		return auth.Refuse(auth.BadSignature, "service: "+auth.ErrMalformed.Error())
	}
	sent, err := parseTimestamp(r.Timestamp)
	if err != nil {
		return auth.Refuse(auth.BadSignature, "timestamp: "+err.Error())
	}
	now := v.Now()
	if err := checkSkew(sent, now); err != nil {
		return err
	}
	key, err := v.Keys.Key(ctx, service, r.KeyID)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return auth.Refuse(auth.UnknownKey, "no valid key of the service has this id")
	case err != nil:
		return fmt.Errorf("look up the key of %s: %w", service, err)
	case key.IsZero():
		return fmt.Errorf("look up the key of %s: %w", service, errNoKey)
	}
	if want := hex.EncodeToString(key.mac(message)); !hmac.Equal([]byte(want), []byte(mac)) {
		return auth.Refuse(auth.BadSignature, "the signature does not verify")
	}
	return v.useNonce(ctx, r, sent, now)
}

// checkSkew compares the timestamp with the clock.
func checkSkew(sent, now time.Time) error {
	switch age := now.Sub(sent); {
	case age > Skew:
		return auth.Refuse(auth.Expired, "the timestamp is more than 5 minutes old")
	case age < -Skew:
		return auth.Refuse(auth.NotYetValid, "the timestamp is more than 5 minutes ahead")
	}
	return nil
}

func (v *Verifier) useNonce(ctx context.Context, r Request, sent, now time.Time) error {
	if sent.After(now) {
		now = sent
	}
	err := v.Nonces.Use(ctx, nonceKey(r.Service, r.Nonce), now.Add(nonceLife))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrReplayed):
		return auth.Refuse(auth.Replayed, "the nonce was used before")
	default:
		return errors.Join(auth.Refuse(auth.NonceUnavailable, "it cannot be known whether the nonce was used before"), err)
	}
}

// nonceKey names a nonce in a store without telling it. Services have a space each.
func nonceKey(service, nonce string) string {
	sum := sha256.Sum256([]byte(service + "\n" + nonce))
	return hex.EncodeToString(sum[:])
}

// CheckBody refuses a body that is not the one a verified request was signed with.
func CheckBody(r Request, body []byte) error {
	if r.BodySHA256 != BodyDigest(body) {
		return auth.Refuse(auth.BadSignature, "the body is not the one that was signed")
	}
	return nil
}
