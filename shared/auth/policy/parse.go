package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Parse reads and checks a document. The findings are everything there is to say about it, in the order
// of their paths. When one of them is an error, the document is nil and err wraps ErrInvalid.
func Parse(data []byte) (*Document, []Finding, error) {
	doc, found := decode(data)
	if doc != nil {
		check(doc, found)
	}
	if err := found.err(); err != nil {
		return nil, found.all(), err
	}
	return doc, found.all(), nil
}

// decode reads the form of a document. It returns nil where there is no telling what was meant at all;
// otherwise the document holds what could be read, and the findings say what could not.
func decode(data []byte) (*Document, *findings) {
	found := new(findings)
	if len(data) > MaxDocumentBytes {
		found.errorf("", "too_large", "The document has %d bytes; at most %d are allowed.", len(data), MaxDocumentBytes)
		return nil, found
	}
	d := &decoder{
		findings: found,
		data:     data,
		// Duplicate members are found here rather than by the reader, which would stop at the first.
		in: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true)),
	}
	doc := d.document()
	if d.failed == nil {
		if _, err := d.in.ReadToken(); !errors.Is(err, io.EOF) {
			found.errorf("", "malformed_json", "Something follows the document at %s.", d.position(d.in.InputOffset()))
			return nil, found
		}
		return doc, found
	}
	found.errorf("", "malformed_json", "%s", d.complaint())
	return nil, found
}

// decoder reads JSON token by token. After a syntax error, which it keeps in failed, every method returns
// at once with nothing.
type decoder struct {
	*findings
	data   []byte
	in     *jsontext.Decoder
	failed error
}

func (d *decoder) document() *Document {
	doc := new(Document)
	d.object("", members{
		"services": func(path string) {
			doc.Services = mapOf(d, path, d.service)
		},
		"edges": func(path string) {
			d.array(path, func(path string) { doc.Edges = append(doc.Edges, d.edge(path)) })
		},
		"operators": func(path string) {
			doc.Operators = mapOf(d, path, func(path string) (o Operator) {
				d.object(path, members{"scopes": d.stringsInto(&o.Scopes), "rate_limit": d.rateLimit(&o.RateLimit)})
				return o
			})
		},
		"service_accounts": func(path string) {
			doc.ServiceAccounts = mapOf(d, path, func(path string) (a Account) {
				d.object(path, members{
					"service":     d.stringInto(&a.Service),
					"environment": d.stringInto(&a.Environment),
				})
				return a
			})
		},
	})
	return doc
}

func (d *decoder) service(path string) (s ServiceEntry) {
	d.object(path, members{
		"aliases":      d.stringsInto(&s.Aliases),
		"environments": d.stringsInto(&s.Environments),
		"scopes":       d.stringsInto(&s.Scopes),
		"description":  d.stringInto(&s.Description),
		"rate_limit":   d.rateLimit(&s.RateLimit),
	})
	return s
}

func (d *decoder) edge(path string) (e Edge) {
	d.object(path, members{
		"caller":        d.stringInto(&e.Caller),
		"target":        d.stringInto(&e.Target),
		"targets":       d.stringsInto(&e.Targets),
		"effect":        d.stringInto((*string)(&e.Effect)),
		"environments":  d.narrowingInto(&e.Environments),
		"methods":       d.narrowingInto(&e.Methods),
		"path_prefixes": d.narrowingInto(&e.PathPrefixes),
		"scopes":        d.narrowingInto(&e.Scopes),
		"rate_limit":    d.rateLimit(&e.RateLimit),
	})
	return e
}

// members says how the members of an object are read, by their exact names.
type members map[string]func(path string)

// object reads an object with known members.
func (d *decoder) object(path string, known members) {
	d.each(path, func(name, path string) {
		if read, ok := known[name]; ok {
			read(path)
			return
		}
		hint := ""
		for other := range known {
			if strings.EqualFold(other, strings.ReplaceAll(name, "-", "_")) {
				hint = " It is written " + other + "."
			}
		}
		d.errorf(path, "unknown_field", "There is no such field.%s", hint)
		d.skip()
	})
}

// mapOf reads an object whose members all have the same form.
func mapOf[T any](d *decoder, path string, read func(path string) T) map[string]T {
	all := make(map[string]T)
	d.each(path, func(name, path string) { all[name] = read(path) })
	return all
}

// each reads an object and calls member, which must read the value, once for every name.
func (d *decoder) each(path string, member func(name, path string)) {
	if _, ok := d.open(path, '{', "an object"); !ok {
		return
	}
	seen := make(map[string]struct{})
	for d.failed == nil && d.in.PeekKind() != '}' {
		name := d.token().String()
		if d.failed != nil {
			return
		}
		at := memberPath(path, name)
		if _, again := seen[name]; again {
			d.errorf(at, "duplicate_member", "This member stands here twice.")
			d.skip()
			continue
		}
		seen[name] = struct{}{}
		member(name, at)
	}
	d.token()
}

// array reads an array and calls element, which must read the value, for every one.
func (d *decoder) array(path string, element func(path string)) {
	if _, ok := d.open(path, '[', "an array"); !ok {
		return
	}
	for i := 0; d.failed == nil && d.in.PeekKind() != ']'; i++ {
		element(indexPath(path, i))
	}
	d.token()
}

func (d *decoder) stringInto(s *string) func(path string) {
	return func(path string) { *s = d.string(path) }
}

func (d *decoder) stringsInto(list *[]string) func(path string) {
	return func(path string) {
		d.array(path, func(path string) { *list = append(*list, d.string(path)) })
	}
}

func (d *decoder) string(path string) string {
	token, ok := d.open(path, '"', "a string")
	if !ok {
		return ""
	}
	return token.String()
}

// open consumes the first token of a value of the wanted kind. Any other value is a finding and skipped.
func (d *decoder) open(path string, want jsontext.Kind, name string) (jsontext.Token, bool) {
	if d.failed != nil {
		return jsontext.Token{}, false
	}
	switch kind := d.in.PeekKind(); kind {
	case want:
		token := d.token()
		return token, d.failed == nil
	case jsontext.KindInvalid:
		d.token() // says what is wrong
	default:
		d.errorf(path, "wrong_type", "This must be %s, not %s.", name, kindNames[kind])
		d.skip()
	}
	return jsontext.Token{}, false
}

func (d *decoder) token() jsontext.Token {
	if d.failed != nil {
		return jsontext.Token{}
	}
	token, err := d.in.ReadToken()
	d.failed = err
	return token
}

func (d *decoder) skip() {
	if d.failed == nil {
		d.failed = d.in.SkipValue()
	}
}

var kindNames = map[jsontext.Kind]string{
	'n': "null", 'f': "false", 't': "true", '"': "a string", '0': "a number", '{': "an object", '[': "an array",
}

// complaint says what is wrong with the syntax, and where.
func (d *decoder) complaint() string {
	var syntax *jsontext.SyntacticError
	if !errors.As(d.failed, &syntax) || syntax.Err == nil {
		return fmt.Sprintf("The document ends too early, at %s.", d.position(int64(len(d.data))))
	}
	return fmt.Sprintf("This is not JSON: %v at %s.", syntax.Err, d.position(syntax.ByteOffset))
}

// position turns an offset into the line and column that an editor shows.
func (d *decoder) position(offset int64) string {
	before := d.data[:min(int64(len(d.data)), offset)]
	line := bytes.Count(before, []byte("\n"))
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return fmt.Sprintf("line %d, column %d", line+1, column+1)
}
