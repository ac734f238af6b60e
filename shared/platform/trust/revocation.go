package trust

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/clientcert"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/store"
)

// RevocationKind says what a revocation takes back.
type RevocationKind string

// The kinds there are.
const (
	RevokedToken   RevocationKind = "jti"          // one access token
	RevokedSubject RevocationKind = "service_name" // every token issued to a service, or an operator, up to a moment
	RevokedKey     RevocationKind = "kid"          // every token signed by a key
	RevokedAPIKey  RevocationKind = "api_key_id"   // every request signed by a version of a service's API key
	RevokedSerial  RevocationKind = "serial"       // every certificate with a serial number
)

// Revocation is a document of the collection revocations.
type Revocation struct {
	Kind    RevocationKind `json:"kind"`
	Value   string         `json:"value"`
	Service string         `json:"service_name,omitempty"` // whose token or API key, where that is known
	Reason  string         `json:"reason,omitempty"`
	Actor   string         `json:"actor"`
	// RevokedAt is in whole seconds, as the times in tokens are. Of RevokedSubject it is the last second
	// in which a token was issued that is taken back.
	RevokedAt time.Time `json:"revoked_at"`

	ExpiresAt time.Time `json:"-"` // the document's; zero: never
}

// Limits of what a revocation or a quarantine says.
const (
	MaxReason  = 512 // bytes
	maxTokenID = 128 // of a jti
)

// outlives is how long after its issue no token is good any more, by whoever's clock.
const outlives = token.MaxLifetime + 2*token.MaxLeeway

// TokenRevocationEnd returns when the revocation of a token is not needed any more; a zero exp is one that
// is not known.
func TokenRevocationEnd(now, exp time.Time) time.Time {
	if exp.IsZero() || exp.After(now.Add(outlives)) {
		return now.Add(outlives)
	}
	return exp.Add(2 * token.MaxLeeway)
}

// SubjectRevocationEnd returns the same for the revocation of all tokens issued up to a time.
func SubjectRevocationEnd(at time.Time) time.Time { return at.Add(outlives + time.Second) }

// RevocationRef is the document of a revocation. A value that could not be part of an id is named by its
// digest.
func RevocationRef(r Revocation) store.Ref {
	id := string(r.Kind) + ":"
	if r.Kind == RevokedAPIKey {
		id += r.Service + ":"
	}
	if plainID(r.Value) {
		return store.Ref{Collection: store.Revocations, ID: id + r.Value}
	}
	sum := sha256.Sum256([]byte(r.Value))
	return store.Ref{Collection: store.Revocations, ID: id + "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])}
}

// plainID reports whether a value may stand in a document's id as it is. A colon would let it pass for
// another's digest.
func plainID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("._-@", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// errRevocation is wrapped by what is wrong with the value of a revocation.
var errRevocation = errors.New("malformed")

// ParseTokenID checks a jti.
func ParseTokenID(s string) (string, error) {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", fmt.Errorf("jti: %w: want printable ASCII", errRevocation)
		}
	}
	if s == "" || len(s) > maxTokenID {
		return "", fmt.Errorf("jti: %w: want 1 to %d characters", errRevocation, maxTokenID)
	}
	return s, nil
}

// ParseSerial returns the serial number of a certificate in the form of auth.Principal, of any form that tools
// print.
func ParseSerial(s string) (string, error) {
	serial, err := clientcert.ParseSerial(s)
	if err != nil {
		return "", fmt.Errorf("serial: %w: %w", errRevocation, err)
	}
	return serial, nil
}

// Quarantine is the document quarantines/<service_name>: the service calls nobody, nobody calls it, and
// nobody is told where it is.
type Quarantine struct {
	Service auth.Subject `json:"-"` // the document's id
	Reason  string       `json:"reason"`
	Actor   string       `json:"actor"`
	Since   time.Time    `json:"since"`

	ExpiresAt time.Time `json:"-"` // the document's; zero: until it is lifted
}

// QuarantineRef is the document of a service's quarantine.
func QuarantineRef(service auth.Subject) store.Ref {
	return store.Ref{Collection: store.Quarantines, ID: service.String()}
}

// inForce reports whether a quarantine has not ended.
func (q Quarantine) inForce(now time.Time) bool {
	return q.ExpiresAt.IsZero() || q.ExpiresAt.After(now)
}
