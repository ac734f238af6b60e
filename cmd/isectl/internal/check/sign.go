package check

import (
	"io"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
)

// Signature is how a request is signed: the headers to add to it, in the order of the contract, and what
// the signature was made over.
type Signature struct {
	Headers   []Header          `json:"-"`
	Fields    map[string]string `json:"headers"`
	Canonical string            `json:"canonical_request,omitempty"` // the request as both sides see it
	ToSign    string            `json:"string_to_sign,omitempty"`
}

// Header is one header.
type Header struct{ Name, Value string }

// Signing says who signs, and with what.
type Signing struct {
	Service   string
	KeyID     string
	Key       signature.Key
	Timestamp string // empty: now
	Nonce     string // empty: a fresh one
	Now       func() time.Time
}

// headerOrder is the order in which the headers are shown.
var headerOrder = []string{
	signature.HeaderService, signature.HeaderKeyID, signature.HeaderTimestamp, signature.HeaderNonce,
	signature.HeaderKey, signature.HeaderContentHash,
}

// Sign signs the raw HTTP/1.1 request that a reader holds.
func Sign(in io.Reader, s Signing) (Signature, error) {
	service, err := auth.ParseSubject(s.Service)
	if err != nil {
		return Signature{}, err
	}
	req, err := signature.ReadRequest(in)
	if err != nil {
		return Signature{}, err
	}
	req.Service, req.KeyID, req.Timestamp, req.Nonce = service.String(), s.KeyID, s.Timestamp, s.Nonce
	if req.Timestamp == "" {
		req.Timestamp = signature.FormatTimestamp(s.Now())
	}
	if req.Nonce == "" {
		req.Nonce = signature.NewNonce()
	}
	headers, err := s.Key.Headers(req)
	if err != nil {
		return Signature{}, err
	}
	toSign, err := req.StringToSign()
	if err != nil {
		return Signature{}, err
	}
	signed := Signature{Fields: map[string]string{}, Canonical: canonical(toSign), ToSign: toSign}
	for _, name := range headerOrder {
		value := headers.Get(name)
		signed.Headers = append(signed.Headers, Header{name, value})
		signed.Fields[name] = value
	}
	return signed, nil
}

// canonical is the part of the string to sign that describes the request: method, path, query, host and
// the digest of the body.
func canonical(toSign string) string {
	return strings.Join(strings.Split(toSign, "\n")[1:6], "\n")
}
