// Package auth is the vocabulary of identity and judgement that every part of the platform shares:
// who a caller is (Subject), where it runs (Environment), what it may do (Scopes) and why a request
// was let through or refused (Reason). The sub-packages do the work: token (access tokens), jwks (other
// issuers' keys), signature (signed requests), policy (the trust matrix), spiffe (workload ids) and authn
// (all credentials of one request together).
//
// Nothing below this directory imports a cloud SDK.
package auth

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"unique"
)

// PlatformAudience is the audience of the platform's own endpoints. Services never accept it, so that
// a callee cannot replay a token it was shown to the platform.
const PlatformAudience = "isectech-services"

// Issuer is the issuer of every access token.
const Issuer = "isectech-platform"

// TrustDomain is the trust domain of every SPIFFE id.
const TrustDomain = "isectech.com"

// ServicePrefix is what a service's alias leaves out of its name.
const ServicePrefix = "isectech-"

// operatorPrefix marks a Subject that is a person or a pipeline rather than a service.
const operatorPrefix = "operator:"

// maxIDLen is the longest id: one DNS label.
const maxIDLen = 63

// ErrMalformed is wrapped by every parse error of this package.
var ErrMalformed = errors.New("malformed")

// Subject is the authenticated name of a caller: a service (isectech-frontend) or an operator
// (operator:ops@isectech.com). Only ParseSubject makes one, so a Subject that is not zero is well formed.
//
// Equal names are one and the same in memory and have been hashed once, so that a decision finds and
// compares subjects without reading their names.
type Subject struct{ name unique.Handle[name] }

// name is what a Subject stands for.
type name struct {
	text string
	hash uint64
}

var nameSeed = maphash.MakeSeed()

func subject(text string) Subject {
	return Subject{unique.Make(name{text: text, hash: maphash.String(nameSeed, text)})}
}

// ParseSubject parses a service name or operator:<e-mail>.
func ParseSubject(s string) (Subject, error) {
	if mail, ok := strings.CutPrefix(s, operatorPrefix); ok {
		if !validMail(mail) {
			return Subject{}, fmt.Errorf("operator %q: %w e-mail address", clip(s), ErrMalformed)
		}
		return subject(s), nil
	}
	if !ValidID(s) {
		return Subject{}, fmt.Errorf("service name %q: %w: want ^[a-z0-9][a-z0-9-]{0,62}$", clip(s), ErrMalformed)
	}
	return subject(s), nil
}

// MustSubject is ParseSubject for constants and tests; it panics on a malformed name.
func MustSubject(s string) Subject {
	sub, err := ParseSubject(s)
	if err != nil {
		panic(err)
	}
	return sub
}

// String returns the name as it stands in tokens, policies and journals.
func (s Subject) String() string {
	if s.IsZero() {
		return ""
	}
	return s.name.Value().text
}

// Hash returns a number by which tables can find the subject. It is another one in every process.
func (s Subject) Hash() uint64 {
	if s.IsZero() {
		return 0
	}
	return s.name.Value().hash
}

// IsZero reports whether s names nobody.
func (s Subject) IsZero() bool { return s == Subject{} }

// IsOperator reports whether s is a person or a pipeline.
func (s Subject) IsOperator() bool { return strings.HasPrefix(s.String(), operatorPrefix) }

// Alias returns the service's name without its prefix: the stem of its instances' ids and its DNS name.
func (s Subject) Alias() string { return strings.TrimPrefix(s.String(), ServicePrefix) }

// SPIFFE returns the subject's workload id in an environment.
func (s Subject) SPIFFE(env Environment) string {
	return "spiffe://" + TrustDomain + "/" + string(env) + "/" + s.String()
}

// ValidID reports whether s matches ^[a-z0-9][a-z0-9-]{0,62}$, the form of service names, instance ids
// and environments.
func ValidID(s string) bool {
	if s == "" || len(s) > maxIDLen || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// validMail accepts the plain local@domain form that Google identities have: lower case, no quoting.
func validMail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(s) > 254 || !strings.Contains(domain, ".") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', strings.IndexByte("@.-_+", c) >= 0:
		default:
			return false
		}
	}
	return !strings.Contains(domain, "@") && !strings.Contains(s, "..") &&
		!strings.HasPrefix(domain, ".") && !strings.HasSuffix(domain, ".")
}

// clip bounds hostile text in an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// Environment is where an instance runs. Environments never mix.
type Environment string

// The environments there are.
const (
	Production  Environment = "production"
	Staging     Environment = "staging"
	Development Environment = "development"
)

// Environments lists them all.
func Environments() []Environment { return []Environment{Production, Staging, Development} }

// ParseEnvironment parses the name of an environment.
func ParseEnvironment(s string) (Environment, error) {
	for _, e := range [...]Environment{Production, Staging, Development} {
		if s == string(e) {
			return e, nil // and not s, which may be part of something larger
		}
	}
	return "", fmt.Errorf("environment %q: %w: want production, staging or development", clip(s), ErrMalformed)
}

// Method is how a caller proved who it is.
type Method string

// The methods there are.
const (
	MethodJWT    Method = "jwt"
	MethodAPIKey Method = "api_key"
	// MethodLegacyKey is an API key that signs nothing but its service's name.
	MethodLegacyKey Method = "legacy_api_key"
	MethodMTLS      Method = "mtls"
	MethodNone      Method = "none"
)

// Principal is an authenticated caller with what its credential allows at most.
type Principal struct {
	Subject     Subject
	ServiceID   string      // the instance, where the credential names one
	Environment Environment // empty for operators, who act in all of them
	Scopes      Scopes
	Method      Method
	Audience    string // of a token; empty for other credentials
	TokenID     string // jti of a token
	KeyID       string // kid of a token, key id of a signed request
	IssuedAt    int64  // Unix seconds of a token's iat; 0 for other credentials
	ExpiresAt   int64  // Unix seconds of a token's exp; 0 for other credentials
	Certificate string // thumbprint (RFC 8705 x5t#S256) of the certificate presented, or that a token is bound to
	Serial      string // serial number of the certificate presented: lower-case hex, no leading zeros
}
