package store

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Scalar is a bool, a number or a string: what queries compare and order by. The zero Scalar is none of
// them and equals no other.
type Scalar struct {
	kind    scalarKind
	text    string
	integer int64
	float   float64
	whole   bool // the number is integer, not float
	truth   bool
}

type scalarKind uint8

const (
	noScalar scalarKind = iota
	boolScalar
	numberScalar
	stringScalar
)

// ScalarOf returns the scalar of a string, bool, int, int64 or float64; the zero Scalar for anything else.
func ScalarOf(v any) Scalar {
	switch v := v.(type) {
	case string:
		return Scalar{kind: stringScalar, text: v}
	case bool:
		return Scalar{kind: boolScalar, truth: v}
	case int:
		return Scalar{kind: numberScalar, whole: true, integer: int64(v)}
	case int64:
		return Scalar{kind: numberScalar, whole: true, integer: v}
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= maxExactInt {
			return Scalar{kind: numberScalar, whole: true, integer: int64(v)}
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Scalar{}
		}
		return Scalar{kind: numberScalar, float: v}
	default:
		return Scalar{}
	}
}

// scalarOfJSON returns the scalar that a canonical JSON value is; the zero Scalar for null, objects and arrays.
func scalarOfJSON(raw jsontext.Value) Scalar {
	switch raw.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return Scalar{}
		}
		return ScalarOf(string(text))
	case 't', 'f':
		return ScalarOf(raw.Kind() == 't')
	case '0':
		if i, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return ScalarOf(i)
		}
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil {
			return Scalar{}
		}
		return ScalarOf(f)
	default:
		return Scalar{}
	}
}

// Value returns the string, bool, int64 or float64 that s was made of.
func (s Scalar) Value() any {
	switch s.kind {
	case stringScalar:
		return s.text
	case boolScalar:
		return s.truth
	case numberScalar:
		if s.whole {
			return s.integer
		}
		return s.float
	default:
		return nil
	}
}

// Orders reports whether documents may be ordered by the scalar.
func (s Scalar) Orders() bool { return s.kind != noScalar && len(s.text) <= maxFilterBytes }

// Compare orders scalars: bools, then numbers by their value, then strings by their bytes.
func (s Scalar) Compare(t Scalar) int {
	if s.kind != t.kind {
		return cmp.Compare(s.kind, t.kind)
	}
	switch s.kind {
	case boolScalar:
		return cmp.Compare(rank(s.truth), rank(t.truth))
	case numberScalar:
		switch {
		case s.whole && t.whole:
			return cmp.Compare(s.integer, t.integer)
		case s.whole:
			return compareIntFloat(s.integer, t.float)
		case t.whole:
			return -compareIntFloat(t.integer, s.float)
		default:
			return cmp.Compare(s.float, t.float)
		}
	default:
		return strings.Compare(s.text, t.text)
	}
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compareIntFloat compares exactly, where converting either to the other's type would round.
func compareIntFloat(i int64, f float64) int {
	const beyond = 1 << 63
	switch {
	case f >= beyond:
		return -1
	case f < -beyond:
		return 1
	}
	whole := math.Trunc(f)
	if c := cmp.Compare(i, int64(whole)); c != 0 {
		return c
	}
	return cmp.Compare(0, f-whole)
}

// matches reports whether the scalar compares so with the wanted one; different types never do.
func (s Scalar) matches(op Op, want Scalar) bool {
	if s.kind != want.kind || s.kind == noScalar {
		return false
	}
	c := s.Compare(want)
	switch op {
	case Eq:
		return c == 0
	case Lt:
		return c < 0
	case Le:
		return c <= 0
	case Gt:
		return c > 0
	case Ge:
		return c >= 0
	default:
		return false
	}
}

// MarshalJSON writes the scalar's value in canonical form.
func (s Scalar) MarshalJSON() ([]byte, error) {
	if s.kind == numberScalar && !s.whole {
		return AppendFloat(nil, s.float), nil
	}
	return json.Marshal(s.Value())
}

// UnmarshalJSON reads a scalar; anything but a bool, a number or a string gives the zero Scalar.
func (s *Scalar) UnmarshalJSON(data []byte) error {
	*s = scalarOfJSON(data)
	return nil
}
