// Package filter reads Pub/Sub's filter language, by which a subscription chooses messages by their
// attributes:
//
//	attributes:KEY                     has the attribute
//	attributes.KEY = "value"           has it with that value
//	attributes.KEY != "value"          has it with another value, or does not have it
//	hasPrefix(attributes.KEY, "text")  has it with a value that begins so
//	NOT …, -…, … AND …, … OR …, (…)    AND and OR do not mix without parentheses
//
// A key of other characters than letters, digits, hyphens and underscores is a string: attributes:"a.b".
// See https://cloud.google.com/pubsub/docs/subscription-message-filter#filtering_syntax.
package filter

import (
	"fmt"
	"strings"
)

// maxLength is how many bytes a filter may have.
const maxLength = 256

// Filter chooses messages. The zero Filter chooses all.
type Filter struct{ test test }

// Match reports whether a message with these attributes is chosen.
func (f Filter) Match(attributes map[string]string) bool { return f.test == nil || f.test(attributes) }

// test is a compiled expression.
type test func(attributes map[string]string) bool

// Parse compiles a filter. The empty one chooses all.
func Parse(text string) (Filter, error) {
	if len(text) > maxLength {
		return Filter{}, fmt.Errorf("filter: %d bytes; at most %d are allowed", len(text), maxLength)
	}
	tokens, err := scan(text)
	if err != nil {
		return Filter{}, fmt.Errorf("filter: %w", err)
	}
	if tokens[0].kind == end {
		return Filter{}, nil
	}
	p := parser{tokens: tokens}
	t, err := p.expression()
	if err == nil && p.peek().kind != end {
		err = p.unexpected("AND, OR or the end")
	}
	if err != nil {
		return Filter{}, fmt.Errorf("filter: %w", err)
	}
	return Filter{t}, nil
}

// parser descends through the tokens. The length of a filter bounds its depth.
type parser struct{ tokens []token }

func (p *parser) peek() token { return p.tokens[0] }

// next takes a token; the end stays.
func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

// accept takes a token if it is the one.
func (p *parser) accept(kind kind, text string) bool {
	if t := p.peek(); t.kind != kind || t.text != text {
		return false
	}
	p.next()
	return true
}

func (p *parser) unexpected(want string) error {
	t := p.peek()
	if t.kind == end {
		return fmt.Errorf("ends where %s is expected", want)
	}
	return fmt.Errorf("%q at byte %d, where %s is expected", t.raw, t.at, want)
}

// expression reads terms joined by one and the same operator.
func (p *parser) expression() (test, error) {
	t, err := p.term()
	if err != nil {
		return nil, err
	}
	terms := []test{t}
	op := ""
	for p.peek().kind == word && (p.peek().text == "AND" || p.peek().text == "OR") {
		if op != "" && p.peek().text != op {
			return nil, fmt.Errorf("AND and OR at byte %d do not mix without parentheses", p.peek().at)
		}
		op = p.next().text
		if t, err = p.term(); err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	if len(terms) == 1 {
		return terms[0], nil
	}
	return func(attributes map[string]string) bool {
		for _, t := range terms {
			if t(attributes) == (op == "OR") {
				return op == "OR"
			}
		}
		return op == "AND"
	}, nil
}

func (p *parser) term() (test, error) {
	switch {
	case p.accept(word, "NOT"), p.accept(sign, "-"):
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		return func(attributes map[string]string) bool { return !t(attributes) }, nil
	case p.accept(sign, "("):
		t, err := p.expression()
		if err != nil {
			return nil, err
		}
		if !p.accept(sign, ")") {
			return nil, p.unexpected(`")"`)
		}
		return t, nil
	case p.accept(word, "hasPrefix"):
		return p.prefix()
	case p.accept(word, "attributes"):
		return p.comparison()
	default:
		return nil, p.unexpected("a condition")
	}
}

// prefix reads what follows hasPrefix.
func (p *parser) prefix() (test, error) {
	if !p.accept(sign, "(") || !p.accept(word, "attributes") || !p.accept(sign, ".") {
		return nil, p.unexpected(`"(attributes."`)
	}
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	if !p.accept(sign, ",") {
		return nil, p.unexpected(`","`)
	}
	text, err := p.value()
	if err != nil {
		return nil, err
	}
	if !p.accept(sign, ")") {
		return nil, p.unexpected(`")"`)
	}
	return func(attributes map[string]string) bool {
		v, ok := attributes[key]
		return ok && strings.HasPrefix(v, text)
	}, nil
}

// comparison reads what follows attributes.
func (p *parser) comparison() (test, error) {
	if p.accept(sign, ":") {
		key, err := p.key()
		if err != nil {
			return nil, err
		}
		return func(attributes map[string]string) bool { _, ok := attributes[key]; return ok }, nil
	}
	if !p.accept(sign, ".") {
		return nil, p.unexpected(`":" or "."`)
	}
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	equal := p.accept(sign, "=")
	if !equal && !p.accept(sign, "!=") {
		return nil, p.unexpected(`"=" or "!="`)
	}
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	return func(attributes map[string]string) bool {
		v, ok := attributes[key]
		return (ok && v == value) == equal
	}, nil
}

func (p *parser) key() (string, error) {
	if k := p.peek().kind; k != word && k != text {
		return "", p.unexpected("a key")
	}
	return p.next().text, nil
}

func (p *parser) value() (string, error) {
	if p.peek().kind != text {
		return "", p.unexpected("a string")
	}
	return p.next().text, nil
}
