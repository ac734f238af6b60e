package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms there are (RFC 7518 §3.1, RFC 8037 §3.1).
const (
	ES256 = "ES256"
	EdDSA = "EdDSA"
	RS256 = "RS256"
)

// The sizes of RSA keys that are accepted. The upper bound keeps one verification cheap.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// maxKeyIDLen bounds a kid.
const maxKeyIDLen = 128

// ErrUnknownKey is what a Keys returns for a kid it does not hold.
var ErrUnknownKey = errors.New("unknown key")

// ErrInvalidKey is wrapped by every error about a key that is not fit for its algorithm.
var ErrInvalidKey = errors.New("invalid key")

// Key is a public key with the one algorithm it may be used with.
type Key struct {
	ID        string
	Algorithm string
	Public    crypto.PublicKey // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey
}

// Keys finds the key that a token names. The kid is the caller's text, bounded to 128 printable ASCII
// characters and otherwise free: it must not become part of a path. Key returns an error that wraps
// ErrUnknownKey when there is no such key; any other error means that the source cannot be reached.
type Keys interface {
	Key(ctx context.Context, kid string) (Key, error)
}

// signingMethod returns the signature layer of an algorithm, or nil for one that is not ours.
func signingMethod(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case ES256:
		return jwt.SigningMethodES256
	case EdDSA:
		return jwt.SigningMethodEdDSA
	case RS256:
		return jwt.SigningMethodRS256
	}
	return nil
}

// fit checks cheaply that the key has the type and size its algorithm needs, as the signature layer
// does not look at the curve or at the size of a modulus.
func (k Key) fit() error {
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		if k.Algorithm != ES256 || pub == nil || pub.Curve != elliptic.P256() {
			return fmt.Errorf("key %q: %w: %s with an ECDSA key needs ES256 and P-256", k.ID, ErrInvalidKey, k.Algorithm)
		}
	case ed25519.PublicKey:
		if k.Algorithm != EdDSA || len(pub) != ed25519.PublicKeySize {
			return fmt.Errorf("key %q: %w: %s with an Ed25519 key needs EdDSA and 32 bytes", k.ID, ErrInvalidKey, k.Algorithm)
		}
	case *rsa.PublicKey:
		if k.Algorithm != RS256 || !fitRSA(pub) {
			return fmt.Errorf("key %q: %w: %s with an RSA key needs RS256, %d to %d bits and an odd exponent of at least 65537",
				k.ID, ErrInvalidKey, k.Algorithm, minRSABits, maxRSABits)
		}
	default:
		return fmt.Errorf("key %q: %w: unsupported type %T", k.ID, ErrInvalidKey, k.Public)
	}
	return nil
}

// fitRSA reports whether an RSA key is within the supported ranges.
func fitRSA(pub *rsa.PublicKey) bool {
	return pub != nil && pub.N != nil && pub.N.BitLen() >= minRSABits && pub.N.BitLen() <= maxRSABits &&
		pub.N.Bit(0) == 1 && pub.E >= 65537 && pub.E&1 == 1
}

// validate checks all of the key: its id, what fit checks, and that a point lies on its curve.
func (k Key) validate() error {
	if !validKeyID(k.ID) {
		return fmt.Errorf("%w: want a kid of 1 to %d printable ASCII characters", ErrInvalidKey, maxKeyIDLen)
	}
	if err := k.fit(); err != nil {
		return err
	}
	if pub, ok := k.Public.(*ecdsa.PublicKey); ok {
		if _, err := pub.Bytes(); err != nil {
			return fmt.Errorf("key %q: %w: not a point of P-256", k.ID, ErrInvalidKey)
		}
	}
	return nil
}

// validKeyID reports whether a kid is one that a key may have.
func validKeyID(kid string) bool { return len(kid) <= maxKeyIDLen && printable(kid) }

// printable reports whether s is printable ASCII and not empty.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}
