// Package signature signs requests with a service's own secret and verifies them: the scheme
// ISECTECH1-HMAC-SHA256.
//
// The string to sign holds, one a line and without a final newline: the scheme, the method, the path as
// sent, the canonical query, the host in lower case, the SHA-256 of the body, the service, the id of its
// key, the timestamp and the nonce. No part can hold a line break, so no two requests have one string.
// A verifier judges form, then time, then the MAC, and only then uses up the nonce, so that nobody can
// burn another's nonces.
//
// Only authz holds the secrets beside their owners. As forward-auth it never sees the body: it checks
// the signature over the digest in X-Content-SHA256, and whoever reads the body compares (CheckBody).
package signature

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Scheme is the first line of every string to sign.
const Scheme = "ISECTECH1-HMAC-SHA256"

// timestampLayout is the one form of a timestamp.
const timestampLayout = "2006-01-02T15:04:05Z"

// maxPart bounds a path and a query.
const maxPart = 16 << 10

// b64 is base64url without padding that refuses set spare bits.
var b64 = base64.RawURLEncoding.Strict()

// Request is what a signature covers.
type Request struct {
	Method     string
	Path       string // as it stands in the request line, before any '?'
	RawQuery   string // as it stands in the request line, after the first '?'
	Host       string // as in the Host header, with its port if it has one there
	BodySHA256 string // lower-case hex; of an empty body too
	Service    string
	KeyID      string // k1, k2, …: the version of the service's key
	Timestamp  string // YYYY-MM-DDTHH:MM:SSZ
	Nonce      string // 22 characters base64url, 128 bits
}

// BodyDigest returns the lower-case hex SHA-256 of a body.
func BodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// FormatTimestamp returns a time in the one form that signatures have.
func FormatTimestamp(t time.Time) string { return t.UTC().Format(timestampLayout) }

// StringToSign returns the message of the MAC. It refuses a request of which any part is not in its
// form, with an error that wraps auth.ErrMalformed and repeats no value.
func (r Request) StringToSign() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	query, err := CanonicalQuery(r.RawQuery)
	if err != nil {
		return "", err
	}
	return strings.Join([]string{
		Scheme, r.Method, r.Path, query, strings.ToLower(r.Host), r.BodySHA256, r.Service, r.KeyID, r.Timestamp, r.Nonce,
	}, "\n"), nil
}

// check judges the form of every part but the query.
func (r Request) check() error {
	_, errTime := parseTimestamp(r.Timestamp)
	for _, part := range []struct {
		ok         bool
		what, want string
	}{
		{validMethod(r.Method), "method", "an HTTP method"},
		{validPath(r.Path), "path", "a path as in a request line, beginning with /"},
		{validHost(r.Host), "host", "a host name or address with an optional port"},
		{validDigest(r.BodySHA256), "body digest", "64 characters of lower-case hex"},
		{auth.ValidID(r.Service), "service", "a service name"},
		{validKeyID(r.KeyID), "key id", "k and a number"},
		{errTime == nil, "timestamp", "YYYY-MM-DDTHH:MM:SSZ"},
		{validNonce(r.Nonce), "nonce", "22 characters of base64url for 128 bits"},
	} {
		if !part.ok {
			return fmt.Errorf("%s: %w: want %s", part.what, auth.ErrMalformed, part.want)
		}
	}
	return nil
}

// validMethod accepts a token of RFC 9110 §5.6.2.
func validMethod(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// validPath accepts what can stand in a request line before '?': origin-form, or * alone. Bytes beyond
// ASCII are not allowed there by the RFC but are sent and delivered, and stand for themselves.
func validPath(s string) bool {
	if s == "*" {
		return true
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '?' || s[i] == '#' {
			return false
		}
	}
	return s != "" && s[0] == '/' && len(s) <= maxPart
}

// validHost accepts the characters of names, IPv4 and bracketed IPv6 addresses and ports.
func validHost(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte(".-_:[]", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 262 // 253 of a name, eight of ":" and a port with room to spare
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// validDigest accepts 64 characters of lower-case hex, the form of digests and of MACs.
func validDigest(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return len(s) == 2*sha256.Size
}

// validKeyID accepts ^k[1-9][0-9]{0,8}$.
func validKeyID(s string) bool {
	if len(s) < 2 || len(s) > 10 || s[0] != 'k' || s[1] == '0' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func validNonce(s string) bool {
	raw, err := b64.DecodeString(s)
	return err == nil && len(s) == 22 && len(raw) == 16
}

// parseTimestamp parses the one form; time.Parse alone would take fractions of a second and hours of one
// digit as well.
func parseTimestamp(s string) (time.Time, error) {
	t, err := time.Parse(timestampLayout, s)
	if err != nil || FormatTimestamp(t) != s {
		return time.Time{}, auth.ErrMalformed
	}
	return t, nil
}
