package httpx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep a document may nest; ours nest four deep.
const maxDepth = 32

// ReadBody reads a whole body of at most limit bytes; 0 leaves the bound to Wrap. A compressed body is
// refused, since its size and what was signed are not the size and bytes that would be read.
func ReadBody(r *http.Request, limit int64) ([]byte, error) {
	if v := r.Header.Values("Content-Encoding"); len(v) > 1 || len(v) == 1 && !strings.EqualFold(v[0], "identity") {
		return nil, UnsupportedMediaType("a content encoding is not supported")
	}
	if r.Body == nil {
		return nil, nil
	}
	var src io.Reader = r.Body
	if limit > 0 {
		src = io.LimitReader(r.Body, limit+1)
	}
	body, err := io.ReadAll(src)
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, TooLarge(tooLarge.Limit)
		}
		if slow, ok := errors.AsType[*Error](err); ok {
			return nil, slow
		}
		if r.Context().Err() != nil {
			return nil, fmt.Errorf("read body: %w", r.Context().Err())
		}
		return nil, InvalidRequest("the body could not be read").Because(err)
	}
	if limit > 0 && int64(len(body)) > limit {
		return nil, TooLarge(limit)
	}
	return body, nil
}

// DecodeJSON reads the body into what dst points to. It wants the media type application/json (or one that
// ends in +json) and exactly one JSON value of known members, with matching case, none twice, in valid
// UTF-8. A fault names the member: endpoints[0].port.
func DecodeJSON(r *http.Request, dst any) error {
	body, err := ReadJSON(r, 0)
	if err != nil {
		return err
	}
	return UnmarshalStrict(body, dst)
}

// ReadJSON reads a body that DecodeJSON would, of at most limit bytes, for a decoder of the caller's own.
func ReadJSON(r *http.Request, limit int64) ([]byte, error) {
	if err := wantMediaType(r, func(t string) bool {
		return t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
	}, "application/json"); err != nil {
		return nil, err
	}
	return ReadBody(r, limit)
}

// wantMediaType refuses a request whose single Content-Type is not accepted, or is in a charset but UTF-8.
func wantMediaType(r *http.Request, accept func(string) bool, want string) error {
	refusal := UnsupportedMediaType("the content type must be " + want)
	mediaType, params, err := mime.ParseMediaType(only(r.Header, "Content-Type"))
	if err != nil || !accept(mediaType) {
		return refusal
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return refusal
	}
	return nil
}

// UnmarshalStrict decodes JSON text by the rules of DecodeJSON; its error is an invalid_request. Values are
// never quoted in it.
func UnmarshalStrict(text []byte, dst any) error {
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return InvalidRequest("the body is empty")
	case trimmed[0] == 'n': // null would leave dst as it is
		return malformed("", "want a value, not null")
	case tooDeep(text):
		return malformed("", fmt.Sprintf("nested deeper than %d", maxDepth))
	}
	err := json.Unmarshal(text, dst, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return malformed(fieldPath(e.JSONPointer), "occurs twice")
		}
		return malformed(fieldPath(e.JSONPointer), "malformed JSON at byte "+strconv.FormatInt(e.ByteOffset, 10))
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return malformed(fieldPath(e.JSONPointer), semanticProblem(e))
	}
	return malformed("", "malformed JSON").Because(err)
}

func malformed(field, message string) *Error {
	return InvalidRequest("the body is not what it must be", FieldError{Field: field, Message: message})
}

// semanticProblem says why a value does not fit its member. The text of an error of a type's own decoder
// is shown; those types are ours and quote nothing they should not.
func semanticProblem(e *json.SemanticError) string {
	switch {
	case errors.Is(e.Err, json.ErrUnknownName):
		return "unknown member"
	case e.GoType == reflect.TypeFor[time.Time]():
		return "want a time such as 2026-01-04T12:00:00Z"
	case e.Err != nil && errors.Is(e.Err, strconv.ErrRange):
		return "the number is out of range"
	case e.Err != nil && !errors.Is(e.Err, strconv.ErrSyntax) && customDecoder(e.GoType):
		return clip(e.Err.Error(), 200)
	case e.GoType != nil:
		return "want " + kindOf(e.GoType)
	default:
		return "has the wrong type"
	}
}

// customDecoder reports whether a type decodes itself.
func customDecoder(t reflect.Type) bool {
	if t == nil {
		return false
	}
	if t.Kind() != reflect.Pointer {
		t = reflect.PointerTo(t)
	}
	for _, name := range []string{"UnmarshalJSON", "UnmarshalJSONFrom", "UnmarshalText"} {
		if _, ok := t.MethodByName(name); ok {
			return true
		}
	}
	return false
}

// kindOf names what JSON a Go type takes.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	default:
		return "an object"
	}
}

// fieldPath turns a JSON pointer into the form that people write: /endpoints/0/port is endpoints[0].port.
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil {
			b.WriteString("[" + token + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(clip(token, 64))
	}
	return clip(b.String(), 256)
}

// tooDeep reports whether JSON text nests deeper than maxDepth, before anything recurses into it. It need
// not know valid text from invalid: brackets in strings are skipped, all else counts.
func tooDeep(text []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString:
			if c == '\\' {
				i++
			} else if c == '"' {
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
