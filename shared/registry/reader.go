package registry

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// reader reads JSON token by token and notes everything that is not as it should be: unknown, wrongly
// cased and repeated members, and values of another type. Text that is no JSON, or no UTF-8, ends the
// reading; what was found before it stays.
type reader struct {
	findings
	in     *jsontext.Decoder
	failed error
}

// fields says what to do with each member of an object, given the member's path.
type fields map[string]func(path string)

// readDocument reads one JSON object and nothing after it.
func readDocument(data []byte, known func(*reader) fields) *reader {
	r := &reader{in: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))}
	if len(data) > MaxBody {
		r.addf("", codeTooLarge, "the document has %d bytes; at most %d are allowed", len(data), MaxBody)
		return r
	}
	r.object("", known(r))
	if r.failed == nil {
		if _, err := r.in.ReadToken(); errors.Is(err, io.EOF) {
			return r
		}
		r.addf("", codeSyntax, "something follows the document at byte %d", r.in.InputOffset())
		return r
	}
	var syntax *jsontext.SyntacticError
	if errors.As(r.failed, &syntax) && syntax.Err != nil && !errors.Is(syntax.Err, io.ErrUnexpectedEOF) {
		r.addf("", codeSyntax, "not JSON: %v, at byte %d", syntax.Err, syntax.ByteOffset)
	} else {
		r.addf("", codeSyntax, "the document ends too early")
	}
	return r
}

func (r *reader) object(path string, known fields) {
	r.members(path, func(name, at string) {
		if read, ok := known[name]; ok {
			read(at)
			return
		}
		r.skip()
		for want := range known {
			if strings.EqualFold(name, want) || strings.EqualFold(strings.ReplaceAll(want, "_", ""), name) {
				r.addf(at, codeUnknown, "there is no such field; %s is written so", want)
				return
			}
		}
		r.addf(at, codeUnknown, "there is no such field")
	})
}

// members reads an object and calls read, which must consume the value, for each of its members. A
// repeated member is a finding, and skipped.
func (r *reader) members(path string, read func(name, at string)) {
	if _, ok := r.open(path, '{', "an object"); !ok {
		return
	}
	seen := make(map[string]bool)
	for r.failed == nil && r.in.PeekKind() != '}' {
		token, err := r.in.ReadToken()
		if err != nil {
			r.failed = err
			return
		}
		name := token.String()
		at := member(path, name)
		if seen[name] {
			r.addf(at, codeDuplicate, "this field stands here twice")
			r.skip()
			continue
		}
		seen[name] = true
		read(name, at)
	}
	r.close()
}

// array reads an array of at most limit elements.
func (r *reader) array(path string, limit int, element func(path string)) {
	if _, ok := r.open(path, '[', "an array"); !ok {
		return
	}
	n := 0
	for ; r.failed == nil && r.in.PeekKind() != ']'; n++ {
		if n < limit {
			element(index(path, n))
		} else {
			r.skip()
		}
	}
	if n > limit {
		r.addf(path, codeTooMany, "%d are too many; at most %d are allowed", n, limit)
	}
	r.close()
}

func (r *reader) stringInto(p *string) func(string) {
	return func(path string) {
		if token, ok := r.open(path, '"', "a string"); ok {
			*p = token.String()
		}
	}
}

func (r *reader) stringsInto(p *[]string, limit int) func(string) {
	return func(path string) {
		*p = []string{}
		r.array(path, limit, func(path string) {
			var s string
			r.stringInto(&s)(path)
			*p = append(*p, s)
		})
	}
}

func (r *reader) boolInto(p *bool) func(string) {
	return func(path string) {
		switch r.in.PeekKind() {
		case 't', 'f':
			token, err := r.in.ReadToken()
			if r.failed = err; err == nil {
				*p = token.Bool()
			}
		default:
			r.open(path, 't', "true or false")
		}
	}
}

func (r *reader) intInto(p *int) func(string) {
	return func(path string) {
		if n, ok := r.integer(path, "a whole number"); ok {
			if n < math.MinInt32 || n > math.MaxInt32 {
				r.addf(path, codeOutOfRange, "this number is out of range")
				return
			}
			*p = int(n)
		}
	}
}

func (r *reader) durationInto(p *Duration) func(string) {
	return func(path string) {
		if r.in.PeekKind() != '"' {
			if n, ok := r.integer(path, `a duration such as "30s", or whole nanoseconds`); ok {
				*p = Duration(n)
			}
			return
		}
		var text string
		r.stringInto(&text)(path)
		d, err := time.ParseDuration(text)
		if err != nil && r.failed == nil {
			r.addf(path, codeInvalid, `%s is no duration; write one such as "30s" or "1m30s"`, quote(text))
			return
		}
		*p = Duration(d)
	}
}

func (r *reader) integer(path, what string) (int64, bool) {
	if kind := r.in.PeekKind(); kind != '0' {
		r.open(path, '0', what)
		return 0, false
	}
	value, err := r.in.ReadValue()
	if r.failed = err; err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		r.addf(path, codeWrongType, "this must be %s", what)
		return 0, false
	}
	return n, true
}

var kindNames = map[jsontext.Kind]string{
	'n': "null", 'f': "false", 't': "true", '"': "a string", '0': "a number", '{': "an object", '[': "an array",
}

// open consumes the first token of a value of the wanted kind. Any other value is a finding, and skipped.
func (r *reader) open(path string, want jsontext.Kind, name string) (jsontext.Token, bool) {
	if r.failed != nil {
		return jsontext.Token{}, false
	}
	kind := r.in.PeekKind()
	if kind != want && kind != jsontext.KindInvalid {
		r.addf(path, codeWrongType, "this must be %s, not %s", name, kindNames[kind])
		r.skip()
		return jsontext.Token{}, false
	}
	token, err := r.in.ReadToken()
	r.failed = err
	return token, err == nil
}

// close consumes the end of an object or array.
func (r *reader) close() {
	if r.failed == nil {
		_, r.failed = r.in.ReadToken()
	}
}

func (r *reader) skip() {
	if r.failed == nil {
		r.failed = r.in.SkipValue()
	}
}
