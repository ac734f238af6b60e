package endpoint

import "strings"

// CheckPath refuses the paths that two programs could read differently: those that do not begin with a
// slash or hold empty segments, dot segments, backslashes, characters beyond RFC 3986's, escapes that are
// none, and escapes of the characters that would change the path's meaning. A slash at the end is fine.
func CheckPath(path string) error {
	if path == "" || path[0] != '/' {
		return refuse(BadPath, "a path begins with a slash")
	}
	if len(path) > MaxURL {
		return refuse(TooLong, "the path has %d bytes; at most %d are allowed", len(path), MaxURL)
	}
	for i := range len(path) {
		if c := path[i]; c != '%' && c != '/' && !isPathChar(c) {
			return refuse(BadPath, "a path has no %q", c)
		}
	}
	if !validEscapes(path) {
		return refuse(BadPath, "the path has a %% that is not followed by two hexadecimal digits")
	}
	upper := strings.ToUpper(path)
	for _, escape := range []string{"%2E", "%2F", "%5C", "%25", "%3B", "%7F"} {
		if strings.Contains(upper, escape) {
			return refuse(BadPath, "the path escapes a character that must not be escaped (%s)", escape)
		}
	}
	if strings.Contains(upper, "%0") || strings.Contains(upper, "%1") {
		return refuse(BadPath, "the path escapes a control character")
	}
	if path == "/" {
		return nil
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return refuse(BadPath, "a path has no empty segments and no segments of dots")
		}
	}
	return nil
}

// CheckPathQuery is CheckPath for a path that a query may follow.
func CheckPathQuery(path string) error {
	path, query, _ := strings.Cut(path, "?")
	if err := CheckPath(path); err != nil {
		return err
	}
	for i := range len(query) {
		if c := query[i]; c != '%' && c != '/' && c != '?' && !isPathChar(c) {
			return refuse(BadPath, "a query has no %q", c)
		}
	}
	if len(query) > MaxURL || !validEscapes(query) {
		return refuse(BadPath, "the query is too long or has a %% that is not followed by two hexadecimal digits")
	}
	return nil
}

// isPathChar reports whether c may stand in a segment as it is (RFC 3986 pchar, without the semicolon:
// some servers cut a path at it).
func isPathChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0
}

func validEscapes(s string) bool {
	for i := range len(s) {
		if s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
