package filter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	end  kind = iota
	word      // an operator's name, or a key
	text      // a string
	sign
)

type token struct {
	kind kind
	text string // of a string, its value
	raw  string
	at   int // in bytes
}

// scan cuts a filter into tokens, the last of which is its end.
func scan(filter string) ([]token, error) {
	if !utf8.ValidString(filter) {
		return nil, errors.New("not UTF-8")
	}
	var tokens []token
	for at := 0; at < len(filter); {
		rest := filter[at:]
		var t token
		switch c := rest[0]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			at++
			continue
		case c == '"':
			raw, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("the string at byte %d does not end", at)
			}
			value, err := strconv.Unquote(raw)
			if err != nil {
				return nil, fmt.Errorf("the string at byte %d: %w", at, err)
			}
			t = token{kind: text, text: value, raw: raw}
		case strings.HasPrefix(rest, "!="):
			t = token{kind: sign, text: "!=", raw: "!="}
		case strings.IndexByte("()=:.,", c) >= 0, c == '-' && !inKey(tokens):
			t = token{kind: sign, text: rest[:1], raw: rest[:1]}
		case isKey(c):
			n := 0
			for n < len(rest) && isKey(rest[n]) {
				n++
			}
			t = token{kind: word, text: rest[:n], raw: rest[:n]}
		default:
			_, n := utf8.DecodeRuneInString(rest)
			return nil, fmt.Errorf("%q at byte %d", rest[:n], at)
		}
		t.at = at
		at += len(t.raw)
		tokens = append(tokens, t)
	}
	return append(tokens, token{at: len(filter)}), nil
}

// inKey reports whether a key follows, in which a hyphen is a letter.
func inKey(tokens []token) bool {
	if len(tokens) == 0 {
		return false
	}
	last := tokens[len(tokens)-1]
	return last.kind == sign && (last.text == "." || last.text == ":")
}

func isKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
