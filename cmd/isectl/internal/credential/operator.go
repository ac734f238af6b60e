// Package credential makes what isectl proves itself with: a service's API key, read with the rights of
// whoever runs isectl, and the ID token of the local platform's operator.
package credential

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/isectech/service-networking/shared/auth/token"
)

// The local platform's stand-in for Google as the identity provider of operators.
const (
	localIssuer   = "https://local.isectech.com"
	audience      = "isectech-authz"
	assertionLife = 5 * time.Minute
)

// ErrOperator means that the local operator's credential is not one.
var ErrOperator = errors.New("the local operator's credential cannot be used")

// Operator is the local platform's operator.
type Operator struct {
	Email string
	Key   string // PKCS #8 PEM of an ES256 key
	KeyID string
}

// Assertion returns an ID token of the operator, good for a few minutes.
func (o Operator) Assertion(now time.Time) (string, error) {
	key, algorithm, err := token.ParsePrivateKey([]byte(o.Key))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrOperator, err)
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || algorithm != token.ES256 || o.Email == "" || o.KeyID == "" {
		return "", fmt.Errorf("%w: want an e-mail address, a key id and an ES256 key", ErrOperator)
	}
	assertion := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": localIssuer, "aud": audience, "sub": o.Email, "email": o.Email, "email_verified": true,
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	assertion.Header["kid"] = o.KeyID
	signed, err := assertion.SignedString(private)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrOperator, err)
	}
	return signed, nil
}
