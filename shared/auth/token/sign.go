package token

import (
	"crypto"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/isectech/service-networking/shared/auth"
)

// Signer mints access tokens with one key. It is safe for concurrent use.
type Signer struct {
	public Key
	method jwt.SigningMethod
	key    crypto.Signer
	header string // base64url, the same for every token
}

// NewSigner returns a signer whose tokens name the key by kid. The key is one that GenerateKey or
// ParsePrivateKey makes: *ecdsa.PrivateKey, ed25519.PrivateKey or *rsa.PrivateKey.
func NewSigner(kid, algorithm string, key crypto.Signer) (*Signer, error) {
	if key == nil {
		return nil, fmt.Errorf("signer: %w: no key", ErrInvalidKey)
	}
	public := Key{ID: kid, Algorithm: algorithm, Public: key.Public()}
	if err := public.validate(); err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	head, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}{algorithm, kid, Type})
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	s := &Signer{public: public, method: signingMethod(algorithm), key: key, header: b64.EncodeToString(head)}
	if _, err := s.method.Sign("probe", key); err != nil { // fails for key types the signature layer lacks
		return nil, fmt.Errorf("signer: %w: %w", ErrInvalidKey, err)
	}
	return s, nil
}

// Public returns the key that verifies the signer's tokens.
func (s *Signer) Public() Key { return s.public }

// issued are the claims as they are minted.
type issued struct {
	Issuer       string           `json:"iss"`
	Subject      string           `json:"sub"`
	ClientID     string           `json:"client_id"`
	Audience     string           `json:"aud"`
	ServiceName  string           `json:"service_name"`
	ServiceID    string           `json:"service_id,omitzero"`
	Environment  auth.Environment `json:"environment,omitzero"`
	Scopes       []string         `json:"scopes"`
	Scope        string           `json:"scope"`
	IssuedAt     int64            `json:"iat"`
	NotBefore    int64            `json:"nbf"`
	ExpiresAt    int64            `json:"exp"`
	ID           string           `json:"jti"`
	Confirmation *cnf             `json:"cnf,omitzero"`
}

type cnf struct {
	Thumbprint string `json:"x5t#S256"`
}

// Sign mints a token. It refuses claims that Verify would refuse at the time they were issued, and an
// operator's token for anyone but the platform itself. Times are cut to whole seconds.
func (s *Signer) Sign(c Claims) (string, error) {
	if c.Issuer == "" {
		c.Issuer = auth.Issuer
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = c.IssuedAt
	}
	if err := c.validate(); err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	name := c.Subject.String()
	w := issued{
		Issuer: c.Issuer, Subject: name, ClientID: name, ServiceName: name, Audience: c.Audience,
		ServiceID: c.ServiceID, Environment: c.Environment, Scopes: c.Scopes.Names(), Scope: c.Scopes.String(),
		IssuedAt: c.IssuedAt.Unix(), NotBefore: c.NotBefore.Unix(), ExpiresAt: c.ExpiresAt.Unix(), ID: c.ID,
	}
	if c.Thumbprint != "" {
		w.Confirmation = &cnf{c.Thumbprint}
	}
	payload, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	signed := s.header + "." + b64.EncodeToString(payload)
	sig, err := s.method.Sign(signed, s.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	raw := signed + "." + b64.EncodeToString(sig)
	if len(raw) > MaxSize {
		return "", fmt.Errorf("sign token: %w: longer than %d bytes", auth.ErrMalformed, MaxSize)
	}
	return raw, nil
}

// validate checks claims before they are signed.
func (c Claims) validate() error {
	fault := ""
	lifetime := c.ExpiresAt.Unix() - c.IssuedAt.Unix()
	switch {
	case c.Subject.IsZero():
		fault = "no subject"
	case !printable(c.Issuer) || !printable(c.Audience):
		fault = "issuer and audience are printable text that is not empty"
	case c.Subject.IsOperator() && c.Audience != auth.PlatformAudience:
		fault = "an operator's token is for " + auth.PlatformAudience + " alone"
	case c.ServiceID != "" && !auth.ValidID(c.ServiceID):
		fault = "service id is no id"
	case !validTokenID(c.ID):
		fault = "token id is missing or no printable text"
	case c.IssuedAt.Unix() < 0 || c.ExpiresAt.Unix() > maxTime || c.NotBefore.Unix() < 0:
		fault = "a time is out of range"
	case lifetime <= 0 || lifetime > int64(MaxLifetime.Seconds()):
		fault = "lifetime is not within 15 minutes"
	case c.NotBefore.Unix() >= c.ExpiresAt.Unix():
		fault = "the token ends before it begins"
	case c.Thumbprint != "" && !validThumbprint(c.Thumbprint):
		fault = "certificate thumbprint is not the base64url of a SHA-256"
	case c.Environment == "" && !c.Subject.IsOperator():
		fault = "a service's token needs an environment"
	}
	if fault != "" {
		return fmt.Errorf("%w claims: %s", auth.ErrMalformed, fault)
	}
	if c.Environment != "" {
		if _, err := auth.ParseEnvironment(string(c.Environment)); err != nil {
			return err
		}
	}
	return nil
}
