// Package authn authenticates a request: every credential on it is checked, every one must be valid, and
// all must name the same service. No credential that fails is made up for by another, and no other
// header lets anyone through.
package authn

import (
	"context"
	"net/http"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/clientcert"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

// HeaderServiceName is the name a caller claims; it must agree with its credentials.
const HeaderServiceName = "X-Service-Name"

// Tokens verifies access tokens, all but their audience; token.Verifier does.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Claims, error)
	VerifyAt(ctx context.Context, raw string, at token.Moment) (*token.Claims, error)
}

// Signatures verifies request signatures. Only authz holds the keys; everyone else asks it.
type Signatures interface {
	// VerifySignature returns who signed the request. An error that is no refusal means nobody could say.
	VerifySignature(ctx context.Context, s Signed) (auth.Principal, error)
}

// Services are those that the policy knows.
type Services interface {
	auth.Names
	Runs(service auth.Subject, env auth.Environment) bool
	Grant(service auth.Subject, env auth.Environment) auth.Scopes
}

// Signed is a request with the headers that sign it.
type Signed struct {
	Request signature.Request
	MAC     string
	Legacy  bool // the MAC is over the service's name alone: the legacy form of an API key
}

// Authenticator checks all credentials of a request together.
type Authenticator struct {
	Tokens       Tokens
	Signatures   Signatures
	Certificates *clientcert.Reader // nil: client certificates are refused
	At           token.Moment       // the request's, for its token
}

// Authenticate returns the caller of r as each of its credentials shows it: the access token first, then the
// client certificate, then the signature. They all name one service. The headers of r have been cleaned by
// Hops.Clean; what was signed is described by original, which is r itself except where r asks about another
// request. Errors are refusals, or else say that something needed for the judgement could not be reached.
//
// The signature comes last, after all that can be refused without it: a request that is refused anyway must
// not use up its nonce.
func (a *Authenticator) Authenticate(r *http.Request, original Original, services Services) ([]auth.Principal, error) {
	bearer, hasToken, err := bearerToken(r.Header)
	if err != nil {
		return nil, err
	}
	hasSignature, hasCertificate := signature.Present(r.Header), clientcert.Present(r)
	if !hasToken && !hasSignature && !hasCertificate {
		return nil, auth.Refuse(auth.NoCredentials, "the request carries no access token, no signature and no client certificate")
	}

	var found []auth.Principal
	if hasToken {
		claims, err := a.Tokens.VerifyAt(r.Context(), bearer, a.At)
		if err != nil {
			return nil, err
		}
		found = append(found, PrincipalOf(claims))
	}
	if hasCertificate {
		p, err := a.certificate(r, services)
		if err != nil {
			return nil, certificateFault{err}
		}
		found = append(found, p)
	}
	if !hasSignature {
		return checked(found, r.Header, services)
	}
	if len(found) > 0 { // whose name stands in the header is the signature's to say
		if _, err := checked(found, nil, services); err != nil {
			return nil, err
		}
	}
	signed, err := original.signed(r.Header)
	if err != nil {
		return nil, err
	}
	p, err := a.Signatures.VerifySignature(r.Context(), signed)
	if err != nil {
		return nil, err
	}
	found = append(found, p)
	return checked(found, r.Header, services)
}

// checked returns credentials that may stand beside each other.
func checked(found []auth.Principal, h http.Header, names auth.Names) ([]auth.Principal, error) {
	if err := Agree(found, h, names); err != nil {
		return nil, err
	}
	if err := bound(found); err != nil {
		return nil, err
	}
	return found, nil
}

// Present reports whether r carries anything that Authenticate would judge.
func Present(r *http.Request) bool {
	return len(r.Header.Values("Authorization")) > 0 || signature.Present(r.Header) || clientcert.Present(r)
}

// Agree checks that all credentials, of which there is one at least, and X-Service-Name name the same
// service, and those that say so the same environment.
func Agree(found []auth.Principal, h http.Header, names auth.Names) error {
	first, env := found[0], auth.Environment("")
	for _, p := range found {
		if p.Subject != first.Subject {
			return auth.Refuse(auth.IdentityMismatch, "the request's credentials name different services")
		}
		if p.Environment == "" || p.Method == auth.MethodAPIKey || p.Method == auth.MethodLegacyKey {
			continue // a key is good wherever its service runs
		}
		if env != "" && p.Environment != env {
			return auth.Refuse(auth.IdentityMismatch, "the request's credentials are of different environments")
		}
		env = p.Environment
	}
	for _, claimed := range h.Values(HeaderServiceName) {
		if claimed == first.Subject.String() {
			continue
		}
		if sub, ok := names.Resolve(claimed); !ok || sub != first.Subject {
			return auth.Refuse(auth.IdentityMismatch, HeaderServiceName+" does not name the service of the credentials")
		}
	}
	return nil
}

// bearerToken returns the access token of the Authorization header (RFC 6750 §2.1). Any other use of
// the header is a credential that nobody here can check, and therefore a failed one.
func bearerToken(h http.Header) (raw string, present bool, err error) {
	values := h.Values("Authorization")
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", true, auth.Refuse(auth.MalformedToken, "the Authorization header is repeated")
	}
	scheme, raw, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return "", true, auth.Refuse(auth.MalformedToken, "the Authorization header is not of the form Bearer TOKEN")
	}
	return raw, true, nil
}

// PrincipalOf returns who the bearer of a token with these claims is. With a Certificate the token is bound to it:
// whoever cannot see the sender's certificate refuses it.
func PrincipalOf(c *token.Claims) auth.Principal {
	return auth.Principal{
		Subject:     c.Subject,
		ServiceID:   c.ServiceID,
		Environment: c.Environment,
		Scopes:      c.Scopes,
		Method:      auth.MethodJWT,
		Audience:    c.Audience,
		TokenID:     c.ID,
		KeyID:       c.KeyID,
		IssuedAt:    c.IssuedAt.Unix(),
		ExpiresAt:   c.ExpiresAt.Unix(),
		Certificate: c.Thumbprint,
	}
}
