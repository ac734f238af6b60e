package token

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/auth"
)

// maxTime is the last second of the year 9999, beyond which a time has no RFC 3339 form.
const maxTime = 253402300799

// errKind is returned to the decoder for a value of another kind than the claim's.
var errKind = errors.New("wrong kind of value")

// wireClaims are the claims as they are decoded: each knows whether it was there, and null is never a
// value. Unknown claims are skipped, but not their duplicate members.
type wireClaims struct {
	Issuer       text         `json:"iss"`
	Subject      text         `json:"sub"`
	ClientID     text         `json:"client_id"`
	ServiceName  text         `json:"service_name"`
	Audience     audience     `json:"aud"`
	ServiceID    text         `json:"service_id"`
	Environment  text         `json:"environment"`
	Scopes       scopeList    `json:"scopes"`
	Scope        text         `json:"scope"`
	IssuedAt     numericDate  `json:"iat"`
	NotBefore    numericDate  `json:"nbf"`
	ExpiresAt    numericDate  `json:"exp"`
	ID           text         `json:"jti"`
	Confirmation confirmation `json:"cnf"`
}

// claims checks the form of every claim.
func (w *wireClaims) claims() (Claims, error) {
	if !w.Issuer.set || !w.Subject.set || !w.ClientID.set || !w.ServiceName.set || !w.Audience.set ||
		!w.IssuedAt.set || !w.ExpiresAt.set || !w.ID.set {
		return Claims{}, malformed("one of iss, sub, client_id, service_name, aud, iat, exp, jti is missing")
	}
	sub, err := auth.ParseSubject(w.Subject.value)
	if err != nil {
		return Claims{}, malformed("sub is not a service name or an operator")
	}
	c := Claims{
		Issuer: w.Issuer.value, Subject: sub, Audience: w.Audience.value, ServiceID: w.ServiceID.value,
		IssuedAt: w.IssuedAt.time(), NotBefore: w.NotBefore.time(), ExpiresAt: w.ExpiresAt.time(),
		ID: w.ID.value, Thumbprint: w.Confirmation.thumbprint,
	}
	if !validTokenID(c.ID) || !printable(c.Audience) {
		return Claims{}, malformed("jti and aud are printable text that is not empty")
	}
	if target, err := auth.ParseSubject(c.Audience); err == nil {
		c.Audience = target.String() // of which there is one in memory, which decisions compare at a glance
	}
	if w.ServiceID.set && !auth.ValidID(c.ServiceID) {
		return Claims{}, malformed("service_id is not an id")
	}
	if c.Environment, err = w.environment(sub); err != nil {
		return Claims{}, err
	}
	c.Scopes, err = w.scopes()
	return c, err
}

// environment returns where the token holds. Without one it would hold everywhere, which is for
// operators alone.
func (w *wireClaims) environment(sub auth.Subject) (auth.Environment, error) {
	if !w.Environment.set && sub.IsOperator() {
		return "", nil
	}
	env, err := auth.ParseEnvironment(w.Environment.value)
	if err != nil {
		return "", malformed("environment is missing or unknown")
	}
	return env, nil
}

// scopes returns what scopes and scope say, which is the same where both are there.
func (w *wireClaims) scopes() (auth.Scopes, error) {
	if !w.Scope.set {
		return w.Scopes.set, nil
	}
	set, _ := auth.ParseScopes(w.Scope.value)
	if w.Scopes.present && set != w.Scopes.set {
		return 0, malformed("scope and scopes differ")
	}
	return set, nil
}

// sameIdentity reports whether the three names of the caller are one.
func (w *wireClaims) sameIdentity() bool {
	return w.Subject.value == w.ClientID.value && w.Subject.value == w.ServiceName.value
}

// validTokenID bounds a jti, which journals, revocations and logs repeat.
func validTokenID(id string) bool { return len(id) <= 128 && printable(id) }

// text is a string member.
type text struct {
	value string
	set   bool
}

// UnmarshalJSONFrom takes a JSON string and nothing else.
func (t *text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '"' {
		return errKind
	}
	t.value, t.set = tok.String(), true
	return nil
}

// numericDate is a time in whole seconds (RFC 7519 §2). Fractions and exponents, which the RFC allows,
// are not emitted by anyone here and read differently by different parsers: they are refused.
type numericDate struct {
	seconds int64
	set     bool
}

// UnmarshalJSONFrom takes digits up to the year 9999 and nothing else.
func (d *numericDate) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	val, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if len(val) > 12 {
		return errKind
	}
	for _, c := range val {
		if c < '0' || c > '9' {
			return errKind
		}
		d.seconds = d.seconds*10 + int64(c-'0')
	}
	if d.seconds > maxTime {
		return errKind
	}
	d.set = true
	return nil
}

func (d numericDate) time() time.Time {
	if !d.set {
		return time.Time{}
	}
	return time.Unix(d.seconds, 0).UTC()
}

// audience is exactly one name, as a string or as an array of one. A token for several would let each
// of them show it to the others, so it is not an access token of this platform.
type audience struct{ text }

// UnmarshalJSONFrom takes a string or an array of one string.
func (a *audience) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '[' {
		return a.text.UnmarshalJSONFrom(dec)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if err := a.text.UnmarshalJSONFrom(dec); err != nil {
		return err
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != ']' {
		return errKind
	}
	return nil
}

// scopeList is an array of scope names. Names of later versions are skipped: they grant nothing here.
type scopeList struct {
	set     auth.Scopes
	present bool
}

// UnmarshalJSONFrom takes an array of strings.
func (l *scopeList) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if tok.Kind() != '[' {
		return errKind
	}
	for dec.PeekKind() != ']' {
		var name text
		if err := name.UnmarshalJSONFrom(dec); err != nil {
			return err
		}
		one, _ := auth.ParseScope(name.value)
		l.set |= one
	}
	l.present = true
	_, err = dec.ReadToken()
	return err
}

// confirmation is cnf (RFC 7800) with the one method understood here. A token bound in another way is
// refused, since to ignore the binding would make it a bearer token.
type confirmation struct{ thumbprint string }

// UnmarshalJSONFrom takes an object with x5t#S256.
func (c *confirmation) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return errKind
	}
	var members struct {
		Thumbprint text `json:"x5t#S256"`
	}
	if err := json.UnmarshalDecode(dec, &members); err != nil {
		return err
	}
	if !validThumbprint(members.Thumbprint.value) {
		return errKind
	}
	c.thumbprint = members.Thumbprint.value
	return nil
}

// validThumbprint reports whether s is the base64url of a SHA-256.
func validThumbprint(s string) bool {
	sum, err := decodeSegment(s)
	return err == nil && len(sum) == 32
}
