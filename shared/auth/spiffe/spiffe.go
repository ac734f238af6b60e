// Package spiffe parses SPIFFE ids, the names of workloads in certificates: strictly by the SPIFFE-ID
// standard, and further as this platform's own workloads are named.
package spiffe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/isectech/service-networking/shared/auth"
)

// The limits of the standard (SPIFFE-ID §2.3), in bytes.
const (
	maxID          = 2048
	maxTrustDomain = 255
)

// ErrInvalid is wrapped by every error of this package.
var ErrInvalid = errors.New("invalid SPIFFE id")

// ID is a SPIFFE id. Only Parse makes one, so an ID that is not zero is valid.
type ID struct{ id spiffeid.ID }

// Parse parses a SPIFFE id: spiffe://, a trust domain of [a-z0-9._-], and a path that is empty or made
// of segments of [A-Za-z0-9._-], none of them empty, "." or "..". There is no user, port, query,
// fragment, escape or trailing slash, the scheme is in lower case, and the whole is no longer than the
// standard allows.
func Parse(s string) (ID, error) {
	if len(s) > maxID {
		return ID{}, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxID)
	}
	id, err := spiffeid.FromString(s)
	if err != nil {
		return ID{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(id.TrustDomain().Name()) > maxTrustDomain {
		return ID{}, fmt.Errorf("%w: trust domain is longer than %d bytes", ErrInvalid, maxTrustDomain)
	}
	return ID{id}, nil
}

// TrustDomain returns the name of the trust domain.
func (i ID) TrustDomain() string { return i.id.TrustDomain().Name() }

// Path returns the path with its leading slash, or "" for the id of the trust domain itself.
func (i ID) Path() string { return i.id.Path() }

// String returns the id, or "" for the zero value.
func (i ID) String() string { return i.id.String() }

// IsZero reports whether i names nothing.
func (i ID) IsZero() bool { return i.id.IsZero() }

// Workload parses the id of one of this platform's workloads,
// spiffe://isectech.com/<environment>/<service_name>, and returns what it names.
func Workload(s string) (auth.Subject, auth.Environment, error) {
	id, err := Parse(s)
	if err != nil {
		return auth.Subject{}, "", err
	}
	if id.TrustDomain() != auth.TrustDomain {
		return auth.Subject{}, "", fmt.Errorf("%w: trust domain is not %s", ErrInvalid, auth.TrustDomain)
	}
	environment, service, ok := strings.Cut(strings.TrimPrefix(id.Path(), "/"), "/")
	if !ok {
		return auth.Subject{}, "", fmt.Errorf("%w: want /<environment>/<service_name>", ErrInvalid)
	}
	env, err := auth.ParseEnvironment(environment)
	if err != nil {
		return auth.Subject{}, "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	// A path holds no colon or at sign, so the subject is a service and never an operator.
	subject, err := auth.ParseSubject(service)
	if err != nil {
		return auth.Subject{}, "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return subject, env, nil
}
