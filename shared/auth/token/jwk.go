package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk is a JSON Web Key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). Its fields stand in the order in which
// a key set shows them.
type jwk struct {
	KeyType   string   `json:"kty"`
	Use       string   `json:"use,omitzero"`
	Algorithm string   `json:"alg,omitzero"`
	KeyID     string   `json:"kid,omitzero"`
	Curve     string   `json:"crv,omitzero"`
	X         string   `json:"x,omitzero"`
	Y         string   `json:"y,omitzero"`
	N         string   `json:"n,omitzero"`
	E         string   `json:"e,omitzero"`
	Ops       []string `json:"key_ops,omitzero"`

	D   jsontext.Value `json:"d,omitzero"`
	P   jsontext.Value `json:"p,omitzero"`
	Q   jsontext.Value `json:"q,omitzero"`
	DP  jsontext.Value `json:"dp,omitzero"`
	DQ  jsontext.Value `json:"dq,omitzero"`
	QI  jsontext.Value `json:"qi,omitzero"`
	Oth jsontext.Value `json:"oth,omitzero"`
	K   jsontext.Value `json:"k,omitzero"`
}

// errUnsupported marks a key that is sound but of a kind the platform has no use for.
var errUnsupported = errors.New("unsupported key")

// public returns the members of a public key that RFC 7638 hashes: kty and the key's parameters.
func public(key crypto.PublicKey) (jwk, error) {
	switch pub := key.(type) {
	case *ecdsa.PublicKey:
		if pub == nil || pub.Curve != elliptic.P256() {
			break
		}
		point, err := pub.Bytes()
		if err != nil {
			return jwk{}, fmt.Errorf("%w: %w", ErrInvalidKey, err)
		}
		return jwk{KeyType: "EC", Curve: "P-256", X: b64.EncodeToString(point[1:33]), Y: b64.EncodeToString(point[33:])}, nil
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			break
		}
		return jwk{KeyType: "OKP", Curve: "Ed25519", X: b64.EncodeToString(pub)}, nil
	case *rsa.PublicKey:
		if !fitRSA(pub) {
			break
		}
		e := big.NewInt(int64(pub.E)).Bytes()
		return jwk{KeyType: "RSA", N: b64.EncodeToString(pub.N.Bytes()), E: b64.EncodeToString(e)}, nil
	}
	return jwk{}, fmt.Errorf("%w: unsupported type %T or parameters", ErrInvalidKey, key)
}

// Thumbprint returns the RFC 7638 SHA-256 thumbprint of a public key, base64url. It is what the
// platform uses as kid.
func Thumbprint(key crypto.PublicKey) (string, error) {
	p, err := public(key)
	if err != nil {
		return "", err
	}
	// Members in lexicographic order, no white space; every value is plain ASCII.
	var canonical string
	switch p.KeyType {
	case "EC":
		canonical = `{"crv":"` + p.Curve + `","kty":"EC","x":"` + p.X + `","y":"` + p.Y + `"}`
	case "OKP":
		canonical = `{"crv":"` + p.Curve + `","kty":"OKP","x":"` + p.X + `"}`
	default:
		canonical = `{"e":"` + p.E + `","kty":"RSA","n":"` + p.N + `"}`
	}
	sum := sha256.Sum256([]byte(canonical))
	return b64.EncodeToString(sum[:]), nil
}

// MarshalJSON returns the key as a JSON Web Key with use, alg and kid.
func (k Key) MarshalJSON() ([]byte, error) {
	if err := k.validate(); err != nil {
		return nil, err
	}
	w, err := public(k.Public)
	if err != nil {
		return nil, err
	}
	w.Use, w.Algorithm, w.KeyID = "sig", k.Algorithm, k.ID
	return json.Marshal(w)
}

// ParseJWK parses one public key with its kid and alg, as MarshalJSON writes it.
func ParseJWK(data []byte) (Key, error) {
	if len(data) > maxKeySetSize {
		return Key{}, fmt.Errorf("key: %w: longer than %d bytes", ErrInvalidKey, maxKeySetSize)
	}
	var w jwk
	if err := unmarshalObject(data, &w); err != nil {
		return Key{}, fmt.Errorf("key: %w: %w", ErrInvalidKey, err)
	}
	return w.key()
}

// unmarshalObject decodes exactly one JSON object: null, which would leave v as it was, is refused too.
func unmarshalObject(data []byte, v any) error {
	if jsontext.Value(data).Kind() != '{' {
		return errors.New("not a JSON object")
	}
	return json.Unmarshal(data, v)
}

// key decodes the public key. It wraps errUnsupported for a kind of key that is not used here, which a
// set may hold for others, and ErrInvalidKey for one that is wrong.
func (w jwk) key() (Key, error) {
	for _, private := range []jsontext.Value{w.D, w.P, w.Q, w.DP, w.DQ, w.QI, w.Oth, w.K} {
		if private != nil && w.KeyType != "oct" {
			return Key{}, fmt.Errorf("key %q: %w: it carries private members", clip(w.KeyID), ErrInvalidKey)
		}
	}
	decode, algorithm, ok := w.kind()
	if !ok || (w.Use != "" && w.Use != "sig") || (w.Ops != nil && !slices.Contains(w.Ops, "verify")) {
		return Key{}, fmt.Errorf("key %q: %w", clip(w.KeyID), errUnsupported)
	}
	if signingMethod(w.Algorithm) == nil { // among them no alg at all: the key does not say what it is for
		return Key{}, fmt.Errorf("key %q: %w: alg", clip(w.KeyID), errUnsupported)
	}
	if w.Algorithm != algorithm {
		return Key{}, fmt.Errorf("key %q: %w: a %s key needs alg %s", clip(w.KeyID), ErrInvalidKey, w.KeyType, algorithm)
	}
	pub, err := decode()
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", clip(w.KeyID), err)
	}
	k := Key{ID: w.KeyID, Algorithm: algorithm, Public: pub}
	if err := k.validate(); err != nil {
		return Key{}, err
	}
	return k, nil
}

// kind returns the decoder and the only algorithm of the key's type and curve.
func (w jwk) kind() (decode func() (crypto.PublicKey, error), algorithm string, ok bool) {
	switch {
	case w.KeyType == "EC" && w.Curve == "P-256":
		return w.ecdsa, ES256, true
	case w.KeyType == "OKP" && w.Curve == "Ed25519":
		return w.ed25519, EdDSA, true
	case w.KeyType == "RSA":
		return w.rsa, RS256, true
	}
	return nil, "", false
}

func (w jwk) ecdsa() (crypto.PublicKey, error) {
	x, errX := decodeMember("x", w.X, 32)
	y, errY := decodeMember("y", w.Y, 32)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, fmt.Errorf("%w: not a point of P-256", ErrInvalidKey)
	}
	return pub, nil
}

func (w jwk) ed25519() (crypto.PublicKey, error) {
	x, err := decodeMember("x", w.X, ed25519.PublicKeySize)
	return ed25519.PublicKey(x), err
}

func (w jwk) rsa() (crypto.PublicKey, error) {
	n, errN := decodeMember("n", w.N, 0)
	e, errE := decodeMember("e", w.E, 0)
	if err := errors.Join(errN, errE); err != nil {
		return nil, err
	}
	if n[0] == 0 || e[0] == 0 {
		return nil, fmt.Errorf("%w: n and e have no leading zero bytes", ErrInvalidKey)
	}
	if len(e) > 4 || len(n) > maxRSABits/8 {
		return nil, errUnsupported
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if !fitRSA(pub) {
		return nil, fmt.Errorf("%w: RSA of less than %d bits or with a small exponent", errUnsupported, minRSABits)
	}
	return pub, nil
}

// decodeMember decodes a base64url member of the given number of bytes; 0 stands for any number but none.
func decodeMember(name, value string, size int) ([]byte, error) {
	data, err := decodeSegment(value)
	if err != nil || len(data) == 0 || (size != 0 && len(data) != size) {
		return nil, fmt.Errorf("%w: %s is not the base64url of its fixed length", ErrInvalidKey, name)
	}
	return data, nil
}

// decodeSegment decodes strict base64url: no padding, no white space, no set spare bits.
func decodeSegment(s string) ([]byte, error) {
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return nil, errors.New("line break in base64url")
	}
	return b64.DecodeString(s)
}

// clip bounds foreign text in an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
