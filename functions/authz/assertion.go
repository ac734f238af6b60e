package authz

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/jwks"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/config"
)

// Assertions verifies ID tokens that are exchanged for access tokens.
type Assertions interface {
	// Verify returns the e-mail address that an ID token proves. A bad token is a refusal.
	Verify(ctx context.Context, raw string) (email string, err error)
}

// IDTokens verifies the ID tokens of one issuer (OpenID Connect Core §2, as Google issues them).
type IDTokens struct {
	Issuer   string
	Audience string
	Keys     token.Keys
	Now      func() time.Time
}

// The bounds of an ID token's times.
const (
	idTokenLeeway  = 30 * time.Second
	idTokenMaxLife = time.Hour + time.Minute
)

// idTokens verifies the ID tokens of the issuer that the configuration names, with the keys it publishes.
func idTokens(cfg Config, now func() time.Time) (*IDTokens, error) {
	keys, err := jwks.New(cfg.IDTokenKeys, jwks.Options{Now: now})
	if err != nil {
		return nil, config.Faultf("ID_TOKEN_JWKS_URL", "%v", err)
	}
	return &IDTokens{Issuer: cfg.IDTokenIssuer, Audience: cfg.Audience, Keys: keys, Now: now}, nil
}

// Google signs with the same keys under two names, of which the older is no URL.
const (
	googleIssuer    = "https://accounts.google.com"
	googleOldIssuer = "accounts.google.com"
)

// issued reports whether an ID token of this issuer may say that it is from iss.
func (v *IDTokens) issued(iss string) bool {
	return iss == v.Issuer || v.Issuer == googleIssuer && iss == googleOldIssuer
}

// Verify implements Assertions.
func (v *IDTokens) Verify(ctx context.Context, raw string) (string, error) {
	verifier := token.Verifier{Keys: v.Keys, Now: v.Now}
	payload, err := verifier.VerifySignature(ctx, raw)
	if err != nil {
		return "", err
	}
	var c struct {
		Issuer        string `json:"iss"`
		Audience      string `json:"aud"`
		Email         string `json:"email"`
		EmailVerified bool   `json:"email_verified"`
		IssuedAt      int64  `json:"iat"`
		NotBefore     int64  `json:"nbf"`
		ExpiresAt     int64  `json:"exp"`
	}
	if err := json.Unmarshal(payload, &c); err != nil { // strict about duplicate and differently cased members
		return "", auth.Refuse(auth.MalformedToken, "the ID token's claims are not of their types")
	}
	now, issued, expires := v.Now(), time.Unix(c.IssuedAt, 0), time.Unix(c.ExpiresAt, 0)
	switch {
	case c.ExpiresAt == 0 || c.IssuedAt == 0:
		return "", auth.Refuse(auth.MalformedToken, "the ID token does not say from when to when it is valid")
	case !v.issued(c.Issuer):
		return "", auth.Refuse(auth.WrongIssuer, "the ID token is of another issuer")
	case c.Audience != v.Audience:
		return "", auth.Refuse(auth.WrongAudience, "the ID token is for another audience")
	case now.After(expires.Add(idTokenLeeway)):
		return "", auth.Refuse(auth.Expired, "the ID token has expired")
	case issued.After(now.Add(idTokenLeeway)), time.Unix(c.NotBefore, 0).After(now.Add(idTokenLeeway)):
		return "", auth.Refuse(auth.NotYetValid, "the ID token is of the future")
	case expires.Sub(issued) > idTokenMaxLife:
		return "", auth.Refuse(auth.MalformedToken, "the ID token lives longer than an hour")
	case c.Email == "" || !c.EmailVerified:
		return "", auth.Refuse(auth.IdentityMismatch, "the ID token's e-mail address is not verified")
	}
	return c.Email, nil
}
