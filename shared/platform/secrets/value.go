package secrets

import (
	"fmt"
	"io"
	"log/slog"
)

// masked is what every rendering of a Value shows.
const masked = "[secret]"

// Value is the payload of a secret version. It shows a mask wherever it is printed, logged or encoded;
// only Reveal gives its bytes. The zero Value is empty.
type Value struct{ payload []byte }

// NewValue wraps a copy of a payload.
func NewValue(payload []byte) Value {
	return Value{append([]byte(nil), payload...)}
}

// Reveal returns a copy of the payload.
func (v Value) Reveal() []byte { return append([]byte(nil), v.payload...) }

// Len returns the payload's length in bytes.
func (v Value) Len() int { return len(v.payload) }

// String returns the mask.
func (Value) String() string { return masked }

// Format prints the mask for every verb: without it %d and %x would print the bytes.
func (Value) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, masked) // fmt.State has no way to report a failed write
}

// LogValue makes slog print the mask.
func (Value) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText makes every text encoding, JSON among them, print the mask.
func (Value) MarshalText() ([]byte, error) { return []byte(masked), nil }
