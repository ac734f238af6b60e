package signature

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

const upperHex = "0123456789ABCDEF"

// CanonicalQuery returns the one form of a query that signer and verifier agree on, whatever proxies
// between them made of it. The query is split on & alone and empty pieces are dropped; each piece is
// split at its first =, and a means a=; %XX is decoded once and a + stands for itself; names and values
// are encoded again by RFC 3986, everything but unreserved characters as %XX in upper case; the pairs
// are sorted by encoded name, then by encoded value, and duplicates stay. An escape that is none, white
// space and control characters are refused.
func CanonicalQuery(raw string) (string, error) {
	if len(raw) > maxPart {
		return "", fmt.Errorf("query: %w: longer than %d bytes", auth.ErrMalformed, maxPart)
	}
	if raw == "" {
		return "", nil
	}
	type pair struct{ name, value string }
	pairs := make([]pair, 0, strings.Count(raw, "&")+1)
	for piece := range strings.SplitSeq(raw, "&") {
		if piece == "" {
			continue
		}
		name, value, _ := strings.Cut(piece, "=")
		var p pair
		var err error
		if p.name, err = reencode(name); err != nil {
			return "", err
		}
		if p.value, err = reencode(value); err != nil {
			return "", err
		}
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	var out strings.Builder
	out.Grow(len(raw) + len(pairs))
	for i, p := range pairs {
		if i > 0 {
			out.WriteByte('&')
		}
		out.WriteString(p.name)
		out.WriteByte('=')
		out.WriteString(p.value)
	}
	return out.String(), nil
}

// reencode decodes %XX once and encodes the bytes again by RFC 3986 §2.3.
func reencode(s string) (string, error) {
	var out strings.Builder
	out.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if i+2 >= len(s) {
				return "", fmt.Errorf("query: %w: an escape is cut off", auth.ErrMalformed)
			}
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if !ok1 || !ok2 {
				return "", fmt.Errorf("query: %w: an escape is not %%XX", auth.ErrMalformed)
			}
			c = hi<<4 | lo
			i += 2
		case c <= ' ' || c == 0x7f:
			return "", fmt.Errorf("query: %w: white space or a control character", auth.ErrMalformed)
		}
		if isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			out.WriteByte(c)
		} else {
			out.WriteByte('%')
			out.WriteByte(upperHex[c>>4])
			out.WriteByte(upperHex[c&15])
		}
	}
	return out.String(), nil
}

func unhex(c byte) (value byte, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
