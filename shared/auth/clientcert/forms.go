package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/spiffe"
)

// maxSerial is the length in bytes of the longest serial number. RFC 5280 §4.1.2.2 allows 20; others have been
// seen.
const maxSerial = 32

// errSerial means that a text is no serial number.
var errSerial = errors.New("want a number above 0 in hexadecimal digits, or in pairs of them with colons between")

// ParseSerial returns the one form that a certificate's serial number has on this platform, lower-case hex
// without leading zeros, of any form that tools print: in either case, with or without leading zeros, with or
// without a colon after every second digit. It is never read as decimal.
func ParseSerial(s string) (string, error) {
	if len(s) > 3*(maxSerial+1) {
		return "", errSerial
	}
	digits := s
	if strings.Contains(s, ":") {
		for pair := range strings.SplitSeq(s, ":") {
			if len(pair) != 2 {
				return "", errSerial
			}
		}
		digits = strings.ReplaceAll(s, ":", "")
	}
	for i := range len(digits) {
		if !isHex(digits[i]) {
			return "", errSerial
		}
	}
	digits = strings.TrimLeft(strings.ToLower(digits), "0") // a leading zero byte is a sign
	if digits == "" || len(digits) > 2*maxSerial {
		return "", errSerial
	}
	return digits, nil
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }

// Thumbprint returns the base64url SHA-256 of a certificate (RFC 8705 §3.1).
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// parseFingerprint returns the thumbprint that a SHA-256 in any of its usual forms stands for: hex, hex with
// colons, or base64 of either alphabet with or without padding, which is how Google's load balancer writes it.
func parseFingerprint(s string) (string, bool) {
	var sum []byte
	var err error
	switch len(s) {
	case 3*sha256.Size - 1:
		for i := 2; i < len(s); i += 3 {
			if s[i] != ':' {
				return "", false
			}
		}
		sum, err = hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	case hex.EncodedLen(sha256.Size):
		sum, err = hex.DecodeString(s)
	case base64.RawStdEncoding.EncodedLen(sha256.Size), base64.StdEncoding.EncodedLen(sha256.Size):
		encoding := base64.RawStdEncoding
		if strings.ContainsAny(s, "-_") {
			encoding = base64.RawURLEncoding
		}
		if strings.ContainsAny(s, "\r\n") { // which the decoder would skip
			return "", false
		}
		if len(s) == base64.StdEncoding.EncodedLen(sha256.Size) {
			var padded bool
			if s, padded = strings.CutSuffix(s, "="); !padded {
				return "", false
			}
		}
		sum, err = encoding.Strict().DecodeString(s)
	}
	if err != nil || len(sum) != sha256.Size {
		return "", false
	}
	return base64.RawURLEncoding.EncodeToString(sum), true
}

// workload returns the workload that a certificate's one URI names.
func workload(uri string) (auth.Subject, auth.Environment, error) {
	service, env, err := spiffe.Workload(uri)
	if err != nil {
		return auth.Subject{}, "", mismatch("the client certificate names no workload of this platform: want " +
			"spiffe://" + auth.TrustDomain + "/<environment>/<service_name>")
	}
	return service, env, nil
}
