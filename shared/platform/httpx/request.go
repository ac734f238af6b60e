package httpx

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/isectech/service-networking/shared/platform/tracing"
)

// requestID returns the caller's request id if there is exactly one and it is 1–128 characters of
// [A-Za-z0-9._-], otherwise 128 random bits.
func requestID(h http.Header) string {
	if id := only(h, "X-Request-Id"); validRequestID(id) {
		return id
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], rand.Uint64()) //nolint:gosec // an id is to be unlike others, and no secret
	binary.BigEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // the same
	return hex.EncodeToString(b[:])
}

func validRequestID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// only returns the value of a header that occurs exactly once, otherwise "".
func only(h http.Header, name string) string {
	if v := h[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// ParseTraceparent parses a W3C traceparent header (Trace Context, level 2 §3.2). Both ids are "" when it
// is malformed, which the specification wants ignored and not refused.
func ParseTraceparent(s string) (trace, span string, sampled bool) {
	sc, ok := tracing.Parse(s)
	if !ok {
		return "", "", false
	}
	return sc.TraceID().String(), sc.SpanID().String(), sc.IsSampled()
}

// headersOfIdentity and prefixesOfIdentity are the headers that decide who a caller is, what it asks for or
// how its body is read. Others, such as User-Agent, may hold any text. The prefixes are by the letter that
// follows their X-, since every header is looked at.
var (
	headersOfIdentity = []string{
		"Authorization", "Content-Encoding", "Content-Type", "Dpop", "If-Match", "If-None-Match", "Forwarded",
		"X-Real-Ip",
	}
	prefixesOfIdentity = [...][]string{
		'A': {"X-Api-", "X-Auth-"},
		'C': {"X-Client-Cert-", "X-Content-"},
		'F': {"X-Forwarded-"},
		'I': {"X-Isectech-"},
		'O': {"X-Original-"},
		'R': {"X-Request-", "X-Required-"},
		'S': {"X-Serverless-", "X-Service-"},
		'T': {"X-Target-"},
		'Z': nil,
	}
)

// checkRequest refuses what no handler should have to think about: overlong URLs and headers, a body that
// declares itself too large, and bytes outside ASCII in headers of identity, which net/http lets through
// and which one reader takes for a space (0x85, 0xA0) and the next does not.
func checkRequest(r *http.Request, maxBody int64) error {
	if len(r.RequestURI) > maxURL {
		return &Error{Status: http.StatusRequestURITooLong, Code: "uri_too_long", Message: "the URL is too long"}
	}
	size, lines := 0, 0
	for name, values := range r.Header {
		for _, v := range values {
			lines++
			size += len(name) + len(v)
			if ofIdentity(name) && !visible(v) {
				return InvalidRequest("a header is malformed",
					FieldError{Field: name, Message: "contains a byte that is no printable ASCII"})
			}
		}
	}
	if size > maxHeaderBytes || lines > maxHeaderLines {
		return &Error{
			Status: http.StatusRequestHeaderFieldsTooLarge, Code: "headers_too_large",
			Message: "the headers are too large",
		}
	}
	if !visible(r.Host) {
		return InvalidRequest("a header is malformed", FieldError{Field: "Host", Message: "contains a byte that is no printable ASCII"})
	}
	if r.ContentLength > maxBody {
		return TooLarge(maxBody)
	}
	return nil
}

func ofIdentity(name string) bool {
	if len(name) > 2 && name[:2] == "X-" && int(name[2]) < len(prefixesOfIdentity) {
		for _, p := range prefixesOfIdentity[name[2]] {
			if strings.HasPrefix(name, p) {
				return true
			}
		}
	}
	return slices.Contains(headersOfIdentity, name)
}

// visible reports whether s is of printable ASCII and spaces. A token is long, so eight bytes are looked at at
// a time: none has its highest bit set, is below a space, or becomes 0x80 when one is added.
func visible(s string) bool {
	const ones, spaces, high = 0x0101010101010101, 0x2020202020202020, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		if (x|(x+ones)|(x-spaces))&high != 0 {
			return false
		}
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
