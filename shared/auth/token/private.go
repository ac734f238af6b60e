package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// pemType is the PEM type of a PKCS #8 private key (RFC 7468 §10).
const pemType = "PRIVATE KEY"

// rsaBits is the size of new RSA keys: the strength of P-256 (NIST SP 800-57 part 1, table 2).
const rsaBits = 3072

// GenerateKey returns a new private key for an algorithm.
func GenerateKey(algorithm string) (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case RS256:
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return nil, fmt.Errorf("%w: no algorithm %q", ErrInvalidKey, clip(algorithm))
	}
	if err != nil {
		return nil, fmt.Errorf("generate %s key: %w", algorithm, err)
	}
	return key, nil
}

// MarshalPrivateKey returns the PKCS #8 PEM of a private key.
func MarshalPrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w: %w", ErrInvalidKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// ParsePrivateKey parses one PKCS #8 PEM block and nothing beside it, and returns the key with the only
// algorithm it is good for.
func ParsePrivateKey(data []byte) (key crypto.Signer, algorithm string, err error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(block.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0 ||
		!bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN "+pemType)) {
		return nil, "", fmt.Errorf("private key: %w: want exactly one PEM block %q", ErrInvalidKey, pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		// The parser's text describes the structure it met; it is left out with the key's bytes.
		return nil, "", fmt.Errorf("private key: %w: not PKCS #8", ErrInvalidKey)
	}
	switch k := parsed.(type) {
	case *ecdsa.PrivateKey:
		key, algorithm = k, ES256
	case ed25519.PrivateKey:
		key, algorithm = k, EdDSA
	case *rsa.PrivateKey:
		key, algorithm = k, RS256
	default:
		return nil, "", fmt.Errorf("private key: %w: unsupported type %T", ErrInvalidKey, parsed)
	}
	if err := (Key{ID: "private", Algorithm: algorithm, Public: key.Public()}).fit(); err != nil {
		return nil, "", err
	}
	return key, algorithm, nil
}
