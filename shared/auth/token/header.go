package token

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/auth"
)

// compact is a token taken apart, its signature not yet verified.
type compact struct {
	head      string // the header as it stands there
	header    header
	payload   []byte
	signed    string // what the signature covers
	signature []byte
	key       Key // that verified it
}

// header is the part of a JOSE header that means something here. Names match exactly, unknown members
// are skipped, and duplicates are refused at any depth.
type header struct {
	Algorithm text           `json:"alg"`
	KeyID     text           `json:"kid"`
	Type      text           `json:"typ"`
	Critical  jsontext.Value `json:"crit"`
	Base64    jsontext.Value `json:"b64"`
}

// knownHeader is the header of a token that was verified, as it stands there. A key's tokens all have the same.
type knownHeader struct {
	head   string
	header header
}

// split takes a token apart and checks its form, short of the payload's content.
func split(raw string, known *knownHeader) (compact, error) {
	c, err := cut(raw, known)
	if err != nil {
		return compact{}, err
	}
	return c, c.header.check()
}

// cut takes a token apart, whatever its header says. A header that is known need not be read.
func cut(raw string, known *knownHeader) (compact, error) {
	if len(raw) > MaxSize {
		return compact{}, malformed("longer than 8 KiB")
	}
	head, rest, ok1 := strings.Cut(raw, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 { // one segment more leaves a dot in the signature, which is no base64url
		return compact{}, malformed("not three segments")
	}
	payload, errBody := decodeSegment(body)
	signature, errSig := decodeSegment(sig)
	c := compact{head: head, payload: payload, signed: raw[:len(head)+1+len(body)], signature: signature}
	if known != nil && known.head == head && errBody == nil && errSig == nil {
		c.header = known.header
		return c, nil
	}
	headJSON, errHead := decodeSegment(head)
	if errHead != nil || errBody != nil || errSig != nil {
		return compact{}, malformed("a segment is not strict base64url")
	}
	if err := decodeStrict(headJSON, &c.header, "header"); err != nil {
		return compact{}, err
	}
	return c, nil
}

// check judges what the header says of itself. An algorithm that no key has is a bad signature before
// anything else is asked of the header, so that none and HS256 are called what they are.
func (h *header) check() error {
	switch {
	case h.Critical != nil || h.Base64 != nil:
		return malformed("crit and b64 are not supported")
	case !h.Algorithm.set:
		return malformed("header: alg is missing")
	case signingMethod(h.Algorithm.value) == nil:
		return auth.Refuse(auth.BadSignature, "the algorithm is not the key's")
	case !h.KeyID.set || h.KeyID.value == "":
		return malformed("header: kid is missing")
	}
	return nil
}

// isAccessToken reports whether typ says that this is an access token. Media types compare without
// regard to case, and application/ may be left out (RFC 7515 §4.1.9).
func (h *header) isAccessToken() bool {
	typ := h.Type.value
	if len(typ) > len("application/") && strings.EqualFold(typ[:len("application/")], "application/") {
		typ = typ[len("application/"):]
	}
	// EqualFold folds beyond ASCII, but no other character folds to one of these.
	return h.Type.set && strings.EqualFold(typ, Type)
}

// decodeStrict decodes a JSON object; what names it in the refusal.
func decodeStrict(data []byte, v any, what string) error {
	err := unmarshalObject(data, v)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		return malformed(what + ": a member stands twice")
	default:
		return malformed(what + ": not the JSON object of an access token")
	}
}
