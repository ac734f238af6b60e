package policy

import (
	"strings"
	"unicode/utf8"
)

// maxPathBytes is the longest request path that is read; longer ones are uncertain.
const maxPathBytes = 8 << 10

// The classes of bytes in a path as sent, as bits; a byte of none is what it looks like. A slash is
// slashOrDot as well, whose bit is next to it.
const (
	slash = 1 << iota
	slashOrDot
	percent
	refused
)

var classes = func() (table [256]uint8) {
	for c := range table {
		switch {
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`\;?#`, byte(c)) >= 0:
			table[c] = refused
		case c == '%':
			table[c] = percent
		case c == '/':
			table[c] = slash | slashOrDot
		case c == '.':
			table[c] = slashOrDot
		}
	}
	return table
}()

// canonicalPath returns the path that a request really asks for: percent-encodings decoded once, "." and
// ".." resolved, empty segments dropped, no slash at the end (but "/" stays). Its argument is the path as
// sent, without the query.
//
// It refuses every path that two programs on the way may read differently, since what is judged here is
// served there: an encoded slash, dot or percent sign that a second decoding would reveal, a backslash, a
// path parameter (;), a control character, text that is not UTF-8, an escape that is none, and ".." above
// the root.
func canonicalPath(path string) (string, bool) {
	if path == "" || path[0] != '/' || len(path) > maxPathBytes {
		return "", false
	}
	// A slash before a slash or a dot may begin a segment that is none: untidy gets the bit slashOrDot then.
	var seen, untidy, before uint
	for i := range len(path) {
		class := uint(classes[path[i]])
		seen |= class
		untidy |= class & (before << 1)
		before = class & slash
	}
	if seen&refused != 0 {
		return "", false
	}
	if seen&percent != 0 {
		decoded, ok := decodeOnce(path)
		if !ok {
			return "", false
		}
		path = decoded
	}
	if untidy != 0 {
		return resolveDots(path)
	}
	if len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path, true
}

// decodeOnce decodes percent-encodings, or refuses what would be ambiguous.
func decodeOnce(path string) (string, bool) {
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			b.WriteByte(c)
			continue
		}
		if !isEscape(path[i:]) {
			return "", false
		}
		c = unhex(path[i+1])<<4 | unhex(path[i+2])
		if c < ' ' || c == 0x7f || strings.IndexByte(`/\.;`, c) >= 0 {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	decoded := b.String()
	if !utf8.ValidString(decoded) {
		return "", false
	}
	for i := range len(decoded) {
		if decoded[i] == '%' && isEscape(decoded[i:]) {
			return "", false
		}
	}
	return decoded, true
}

// resolveDots resolves the dot segments of a decoded path (RFC 3986 §5.2.4) and drops empty segments. It refuses
// ".." after an empty segment: in /a//../b it takes away the empty one by the RFC, which leaves /a/b, and takes
// away a where slashes are merged first, as NGINX does.
func resolveDots(path string) (string, bool) {
	out := make([]byte, 0, len(path))
	empty := false
	for segment := range strings.SplitSeq(path[1:], "/") {
		switch segment {
		case "":
			empty = true
		case ".":
		case "..":
			if len(out) == 0 || empty {
				return "", false
			}
			for out[len(out)-1] != '/' {
				out = out[:len(out)-1]
			}
			out = out[:len(out)-1]
		default:
			out = append(append(out, '/'), segment...)
		}
	}
	if len(out) == 0 {
		return "/", true
	}
	return string(out), true
}

// underPrefix reports whether a canonical path lies at or below a prefix, whole segments compared.
func underPrefix(path, prefix string) bool {
	if prefix == "/" {
		return true
	}
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// validPrefix returns what is wrong with a path prefix of a document, or "". Prefixes have one spelling,
// so that people and programs read them alike.
func validPrefix(prefix string) string {
	switch {
	case prefix == "" || prefix[0] != '/':
		return "A path prefix begins with a slash."
	case len(prefix) > maxPathPrefixBytes:
		return "This path prefix is too long."
	case prefix == "/":
		return ""
	case strings.HasSuffix(prefix, "/"):
		return "Leave out the slash at the end: /api covers /api and everything below it, and nothing else."
	}
	for i := range len(prefix) {
		c := prefix[i]
		switch {
		case c == '%':
			return "A path prefix is written decoded, in ASCII."
		case c == '*':
			return "There are no wildcards: /api covers /api and everything below it."
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`\;?#"<>^{|}`+"`", c) >= 0:
			return "A path prefix holds ASCII letters, digits and -._~!$&'()+,=:@ between its slashes."
		}
	}
	for segment := range strings.SplitSeq(prefix[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "A path prefix has no empty segments and no segments of dots."
		}
	}
	return ""
}

func isEscape(s string) bool { return len(s) >= 3 && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return isDigit(c) || ('a' <= c && c <= 'f') || ('A' <= c && c <= 'F')
}

func unhex(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}
