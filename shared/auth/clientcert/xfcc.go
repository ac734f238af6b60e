package clientcert

import (
	"errors"
	"strings"
)

// element is what one proxy wrote into X-Forwarded-Client-Cert. By, URI and DNS stand once a name.
type element struct {
	by, uri, dns               []string
	hash, cert, chain, subject string
	keys                       map[string]bool // those that may stand only once, and did
}

// Bounds of the header.
const (
	maxXFCC  = 48 << 10 // a certificate and its chain, escaped
	maxNames = 64       // of a kind in an element
)

// errXFCC means that the header is not of Envoy's form.
var errXFCC = errors.New("X-Forwarded-Client-Cert is malformed")

// parseXFCC parses the header's value by the grammar that Envoy documents:
//
//	value   = element *( "," element )
//	element = pair *( ";" pair )
//	pair    = key "=" ( quoted / plain )
//	quoted  = DQUOTE *( any but DQUOTE and backslash / backslash any ) DQUOTE
//	plain   = *( visible ASCII but , ; = DQUOTE and backslash )
//
// with the keys By, Hash, Cert, Chain, Subject, URI and DNS in any case. There is no space around
// separators, no empty element or pair, and no other key.
func parseXFCC(value string) ([]element, error) {
	if value == "" || len(value) > maxXFCC {
		return nil, errXFCC
	}
	var elements []element
	var e element
	for rest := value; ; {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, errXFCC
		}
		text, after, err := cutValue(after)
		if err != nil {
			return nil, err
		}
		if err := e.set(key, text); err != nil {
			return nil, err
		}
		if after == "" {
			return append(elements, e), nil
		}
		if after[0] == ',' {
			elements, e = append(elements, e), element{}
			if len(elements) == maxNames {
				return nil, errXFCC
			}
		}
		rest = after[1:]
	}
}

// cutValue returns the value at the start of s and what follows it: nothing, or a separator and more.
func cutValue(s string) (value, after string, err error) {
	if !strings.HasPrefix(s, `"`) {
		for i := range len(s) {
			switch c := s[i]; {
			case c == ',' || c == ';':
				return s[:i], s[i:], nil
			case c <= ' ' || c >= 0x7f || c == '=' || c == '"' || c == '\\':
				return "", "", errXFCC
			}
		}
		return s, "", nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return "", "", errXFCC
		case c == '"':
			if after = s[i+1:]; after != "" && after[0] != ',' && after[0] != ';' {
				return "", "", errXFCC
			}
			return b.String(), after, nil
		case c == '\\':
			// Envoy escapes the quotation mark alone; a distinguished name has escapes of its own, which stay.
			if i++; i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return "", "", errXFCC
			}
			if s[i] != '"' {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errXFCC
}

// set takes a pair into the element.
func (e *element) set(key, value string) error {
	key = strings.ToLower(key)
	var list *[]string
	switch key {
	case "by":
		list = &e.by
	case "uri":
		list = &e.uri
	case "dns":
		list = &e.dns
	}
	if list != nil {
		if len(*list) == maxNames {
			return errXFCC
		}
		*list = append(*list, value)
		return nil
	}
	single := map[string]*string{"hash": &e.hash, "cert": &e.cert, "chain": &e.chain, "subject": &e.subject}[key]
	if single == nil || e.keys[key] {
		return errXFCC
	}
	if e.keys == nil {
		e.keys = make(map[string]bool, 4)
	}
	*single, e.keys[key] = value, true
	return nil
}
