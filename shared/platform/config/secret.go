package config

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// masked is what a Secret shows of itself.
const masked = "[masked]"

// Secret is a string that shows itself to nobody: formatting, logging and encoding it give "[masked]".
// The value is behind a pointer so that even code that prints a struct's unexported fields by reflection
// sees an address.
type Secret struct{ value *string }

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{&value}
}

// Reveal returns the value, "" when there is none. Every call is a place to look at in a review.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal reports whether two secrets hold the same value, in a time that does not depend on where they
// differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[masked]", or "" when there is no value.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return masked
}

// GoString is String for %#v.
func (s Secret) GoString() string { return "config.Secret(" + s.String() + ")" }

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'v' && f.Flag('#') {
		text = s.GoString()
	}
	_, _ = f.Write([]byte(text)) // fmt.State keeps its own buffer and cannot fail
}

// LogValue is String for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String for JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// UnmarshalText takes the value.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// EnvDecode takes the value from a variable. Control characters are refused: they are the newline at the
// end of a file that was meant to hold the value alone.
func (s *Secret) EnvDecode(value string) error {
	for i := range len(value) {
		if value[i] < ' ' || value[i] == 0x7f {
			return problem("contains a control character, such as a newline at its end")
		}
	}
	*s = NewSecret(value)
	return nil
}

func (Secret) secretive() {}
