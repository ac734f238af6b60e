package signature

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/isectech/service-networking/shared/auth"
)

// keyLen is the number of characters of an encoded key.
const keyLen = 43

// masked is all that a key shows of itself.
const masked = "[masked]"

// errNoKey is the fault of a zero Key, which anyone could sign with.
var errNoKey = errors.New("signature: zero key")

// Key is the secret of a service: 32 random bytes. However it is printed, logged or encoded it shows
// nothing of them; Encode alone does. The zero value is no key.
type Key struct {
	// A function, since fmt asks an unexported field of a struct for no method: all it finds is an address.
	secret func() [32]byte
}

func makeKey(secret [32]byte) Key { return Key{func() [32]byte { return secret }} }

// NewKey returns a fresh key.
func NewKey() Key {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // crypto/rand.Read never fails; it ends the process instead
	return makeKey(secret)
}

// ParseKey parses the 43 characters of base64url that Encode returns, and nothing around them. Its error
// does not repeat them.
func ParseKey(s string) (Key, error) {
	raw, err := b64.DecodeString(s)
	if err != nil || len(s) != keyLen || len(raw) != 32 || [32]byte(raw) == [32]byte{} {
		return Key{}, fmt.Errorf("key: %w: want 32 random bytes as %d characters of base64url", auth.ErrMalformed, keyLen)
	}
	return makeKey([32]byte(raw)), nil
}

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k.secret == nil }

// Encode returns the secret: base64url, 43 characters; nothing for the zero value.
func (k Key) Encode() string {
	if k.IsZero() {
		return ""
	}
	secret := k.secret()
	return b64.EncodeToString(secret[:])
}

// Sign returns the MAC of a request, lower-case hex.
func (k Key) Sign(r Request) (string, error) {
	message, err := r.StringToSign()
	if err != nil {
		return "", err
	}
	if k.IsZero() {
		return "", errNoKey
	}
	return hex.EncodeToString(k.mac(message)), nil
}

// MatchLegacy reports, in constant time, whether mac is the legacy form of this key for a service's name: the
// lower-case hex HMAC-SHA256 of the name by the key's text.
func (k Key) MatchLegacy(service, mac string) bool {
	if k.IsZero() {
		return false
	}
	h := hmac.New(sha256.New, []byte(k.Encode()))
	_, _ = io.WriteString(h, service) // a hash never fails to write
	return hmac.Equal([]byte(hex.EncodeToString(h.Sum(nil))), []byte(mac))
}

func (k Key) mac(message string) []byte {
	secret := k.secret()
	h := hmac.New(sha256.New, secret[:])
	_, _ = io.WriteString(h, message) // a hash never fails to write
	return h.Sum(nil)
}

// String returns a mask.
func (Key) String() string { return masked }

// GoString returns a mask.
func (Key) GoString() string { return masked }

// Format writes a mask, whatever the verb.
func (Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, masked) }

// LogValue returns a mask.
func (Key) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns a mask.
func (Key) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalJSON returns a mask.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }
