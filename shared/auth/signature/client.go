package signature

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Signer signs the requests of one service.
type Signer struct {
	Service auth.Subject
	KeyID   string
	Key     Key
	Now     func() time.Time
}

// NewNonce returns a fresh nonce.
func NewNonce() string {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand.Read never fails; it ends the process instead
	return b64.EncodeToString(nonce[:])
}

// SignHTTP signs an outgoing request, whose body is the given one, and sets its headers. It is the last
// thing done to a request before it is sent, and done again for each attempt, since a nonce is good
// once. The request is left as it was when it cannot be signed.
func (s Signer) SignHTTP(r *http.Request, body []byte) error {
	// What RequestURI returns is what net/http writes into the request line.
	path, rawQuery, err := Target(r.URL.RequestURI())
	if err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	h, err := s.Key.Headers(Request{
		Method:     cmp.Or(r.Method, http.MethodGet),
		Path:       path,
		RawQuery:   rawQuery,
		Host:       cmp.Or(r.Host, r.URL.Host),
		BodySHA256: BodyDigest(body),
		Service:    s.Service.String(),
		KeyID:      s.KeyID,
		Timestamp:  FormatTimestamp(s.Now()),
		Nonce:      NewNonce(),
	})
	if err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	if r.Header == nil {
		r.Header = make(http.Header, len(h))
	}
	maps.Copy(r.Header, h)
	return nil
}
