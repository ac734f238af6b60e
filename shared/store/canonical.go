package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	json2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	json1 "github.com/go-json-experiment/json/v1"
)

// What a document may hold. Every limit is Firestore's or stricter, so that a document that one back end
// takes, all of them take.
const (
	MaxDocumentBytes = 900 << 10 // of its canonical JSON, and of its size as Firestore counts it
	maxDepth         = 20        // nested objects and arrays, the document's own object included
	maxValues        = 10_000    // members and elements: each costs index entries, of which there are 40,000
	maxNameBytes     = 300       // twenty of them make a path of at most 6 KiB
	maxExactInt      = 1 << 53   // the integers up to here are exact in a float64
)

// reservedNames lie beside the data in a stored document.
var reservedNames = []string{"generation", "updated_at", "updated_by", "expires_at", "deleted", "head"}

// marshalOptions are those of encoding/json, but for what it silently repairs.
var marshalOptions = json2.JoinOptions(json1.DefaultOptionsV1(),
	jsontext.AllowInvalidUTF8(false), jsontext.AllowDuplicateNames(false))

// Canonical returns the one spelling of a document's data: v is marshalled as encoding/json does it, to an
// object whose names are sorted by their bytes, without spaces and with nothing escaped that need not be.
// A number that is an int64, or a float that is integral and within ±2^53, is written as an integer;
// every other number as the shortest float64, with a fraction or an exponent. So the type of a number can
// be read off its spelling, and a back end that keeps int64 and float64 gives the same bytes again.
//
// It returns ErrInvalid for what is not an object; for top-level names that a stored document has for
// itself; for empty names, names over 300 bytes and names of the form __…__; for arrays directly inside
// arrays; for invalid UTF-8, duplicate names, numbers beyond float64; and for more than MaxDocumentBytes,
// 10,000 values, or 20 levels. Canonical(Canonical(v)) is Canonical(v).
func Canonical(v any) (json.RawMessage, error) {
	raw, err := json2.Marshal(v, marshalOptions)
	if err != nil {
		return nil, fmt.Errorf("%w: data: %w", ErrInvalid, err)
	}
	// Three bytes of canonical JSON may have needed six (\u00e9), and a number many digits; what is
	// longer than this cannot become short enough and need not be looked at.
	if len(raw) > 8*MaxDocumentBytes {
		return nil, fmt.Errorf("%w: data: %d bytes are too many", ErrInvalid, len(raw))
	}
	c := canonicalizer{dec: jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(false))}
	if c.dec.PeekKind() != '{' {
		return nil, fmt.Errorf("%w: data: not a JSON object", ErrInvalid)
	}
	out, err := c.value(nil, 1)
	if err != nil {
		return nil, fmt.Errorf("%w: data: %w", ErrInvalid, err)
	}
	if len(out) > MaxDocumentBytes || c.size > MaxDocumentBytes {
		return nil, fmt.Errorf("%w: data: %d bytes, %d as stored; at most %d", ErrInvalid, len(out), c.size, MaxDocumentBytes)
	}
	return out, nil
}

// canonicalizer rewrites one JSON value from dec, counting what it holds.
type canonicalizer struct {
	dec    *jsontext.Decoder
	values int
	size   int // bytes as Firestore counts them
}

func (c *canonicalizer) value(out []byte, depth int) ([]byte, error) {
	if c.values++; c.values > maxValues {
		return nil, fmt.Errorf("more than %d values", maxValues)
	}
	switch c.dec.PeekKind() {
	case '{':
		return c.object(out, depth)
	case '[':
		return c.array(out, depth)
	}
	tok, err := c.dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '"':
		s := tok.String()
		c.size += len(s) + 1
		return jsontext.AppendQuote(out, s)
	case '0':
		c.size += 8
		return appendNumber(out, tok.String())
	default: // true, false, null
		c.size++
		return append(out, tok.String()...), nil
	}
}

func (c *canonicalizer) object(out []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("deeper than %d levels", maxDepth)
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return nil, err
	}
	type member struct {
		name  string
		value []byte
	}
	var members []member
	for c.dec.PeekKind() != '}' {
		tok, err := c.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := tok.String()
		if err := checkName(name, depth); err != nil {
			return nil, err
		}
		c.size += len(name) + 1
		value, err := c.value(nil, depth+1)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, value})
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = jsontext.AppendQuote(out, m.name); err != nil {
			return nil, err
		}
		out = append(append(out, ':'), m.value...)
	}
	return append(out, '}'), nil
}

func (c *canonicalizer) array(out []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("deeper than %d levels", maxDepth)
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return nil, err
	}
	out = append(out, '[')
	for i := 0; c.dec.PeekKind() != ']'; i++ {
		if c.dec.PeekKind() == '[' {
			return nil, errors.New("an array directly inside an array")
		}
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = c.value(out, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return nil, err
	}
	return append(out, ']'), nil
}

func checkName(name string, depth int) error {
	switch {
	case name == "":
		return errors.New("an empty name")
	case len(name) > maxNameBytes:
		return fmt.Errorf("a name of %d bytes", len(name))
	case len(name) >= 4 && strings.HasPrefix(name, "__") && strings.HasSuffix(name, "__"):
		return fmt.Errorf("name %q: the form __…__ is reserved", name)
	case depth == 1 && slices.Contains(reservedNames, name):
		return fmt.Errorf("name %q is reserved", name)
	}
	return nil
}

// appendNumber appends the canonical spelling of a JSON number.
func appendNumber(out []byte, text string) ([]byte, error) {
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return strconv.AppendInt(out, i, 10), nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("number %.40s: %w", text, strconv.ErrRange)
	}
	return AppendFloat(out, f), nil
}

// AppendFloat appends a finite float64 in Canonical's spelling.
func AppendFloat(out []byte, f float64) []byte {
	abs := math.Abs(f)
	switch {
	case f == math.Trunc(f) && abs <= maxExactInt:
		return strconv.AppendInt(out, int64(f), 10)
	case abs < 1e-6 || abs > maxExactInt:
		return strconv.AppendFloat(out, f, 'e', -1, 64)
	default:
		return strconv.AppendFloat(out, f, 'f', -1, 64)
	}
}
