// Package security makes security events of what callers do: each refusal is classified, and what only shows over
// several requests (one token in two places, refusals that mount up, more requests than usual) is detected.
//
// Detector decides, purely, in memory that does not grow; Monitor tells what it decided: published before the
// answer, once a minute for the same thing, and counted.
package security

import (
	"net/netip"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Severity is how bad a security event is.
type Severity string

// The severities there are.
const (
	Critical Severity = "critical" // an attack or a breach is under way
	High     Severity = "high"     // an attempt to get in was noticed
	Medium   Severity = "medium"   // a control failed, or something unusual happens
	Low      Severity = "low"      // somebody does what the policy does not want
)

// Kind is what a security event is about.
type Kind string

// The kinds there are.
const (
	AuthFailed            Kind = "auth_failed"
	ReplayDetected        Kind = "replay_detected"
	ScopeViolation        Kind = "scope_violation"
	PrivilegeViolation    Kind = "privilege_violation"
	TokenShared           Kind = "token_shared"
	IdentityMismatch      Kind = "identity_mismatch"
	InvalidCertificate    Kind = "invalid_certificate"
	RevokedCredentialUsed Kind = "revoked_credential_used" //nolint:gosec // a name, and no credential
	Quarantined           Kind = "quarantined"
	UntrustedProxy        Kind = "untrusted_proxy"
	UnusualVolume         Kind = "unusual_volume"
)

// Kinds lists them all.
func Kinds() []Kind {
	return []Kind{
		AuthFailed, ReplayDetected, ScopeViolation, PrivilegeViolation, TokenShared, IdentityMismatch, InvalidCertificate,
		RevokedCredentialUsed, Quarantined, UntrustedProxy, UnusualVolume,
	}
}

// Type returns the type of the kind's events.
func (k Kind) Type() string { return "com.isectech.security." + string(k) + ".v1" }

// Incident is what a security event says. None of it may be a credential.
type Incident struct {
	Kind          Kind              `json:"kind"`
	Severity      Severity          `json:"severity"`
	ServiceName   string            `json:"service_name,omitempty"` // whom it concerns; also the event's subject
	Environment   auth.Environment  `json:"environment,omitempty"`
	Reason        auth.Reason       `json:"reason,omitempty"`
	Detail        string            `json:"detail,omitempty"`
	AuthMethod    auth.Method       `json:"auth_method,omitempty"`
	SourceNetwork string            `json:"source_network,omitempty"` // of the caller, as far as it can be known
	JTI           string            `json:"jti,omitempty"`            // id of the token that was used
	RequestID     string            `json:"request_id,omitempty"`
	Count         int64             `json:"count,omitempty"` // how often it happened since the last event of the same
	Evidence      map[string]string `json:"evidence,omitempty"`
	OccurredAt    time.Time         `json:"occurred_at,omitzero"`
}

// Observation is one request that was judged.
type Observation struct {
	At          time.Time
	Subject     auth.Subject     // zero: not known
	Claimed     auth.Subject     // where the subject is not known: the service that the request says it comes from
	Environment auth.Environment // of the subject
	Reason      auth.Reason      // of the refusal
	Detail      string           // of the refusal
	Method      auth.Method      // of the credential
	TokenID     string
	Source      Source
	Privileged  bool   // what was asked for takes an admin scope
	Headers     string // taken off the request, since only a proxy of ours may send them
}

// Source is where a request came from.
type Source struct {
	Address netip.Addr // zero: not known
	Proven  bool       // a proxy of ours says so; else it is the other end of the connection, whoever that is
}

// The networks that addresses are taken together by: what one site or one customer has.
const (
	networkBits4 = 24
	networkBits6 = 48
)

// Network returns the network of the source; zero where that is not known.
func (s Source) Network() netip.Prefix {
	a := s.Address.Unmap().WithZone("")
	bits := networkBits6
	if a.Is4() {
		bits = networkBits4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// name returns the network for people.
func (s Source) name() string {
	if p := s.Network(); p.IsValid() {
		return p.String()
	}
	return ""
}

// Classify returns the kind and the severity of a refusal; none of one that says nothing about the caller.
func Classify(reason auth.Reason) (Kind, Severity) {
	switch reason {
	case auth.PolicyUnavailable, auth.NonceUnavailable, auth.Allowed:
		return "", ""
	case auth.Replayed:
		return ReplayDetected, High
	case auth.InsufficientScope, auth.UntrustedEdge:
		return ScopeViolation, Medium
	case auth.Quarantined:
		return Quarantined, High
	case auth.UntrustedProxy:
		return UntrustedProxy, High
	case auth.IdentityMismatch:
		return IdentityMismatch, High
	case auth.Revoked:
		return RevokedCredentialUsed, High
	case auth.RateLimited:
		return UnusualVolume, Medium
	case auth.BadSignature, auth.UnknownKey, auth.WrongIssuer, auth.WrongAudience:
		return AuthFailed, High // somebody shows what was not given to them, or not for this
	case auth.MalformedToken, auth.UnknownService, auth.NoCredentials:
		return AuthFailed, Medium
	default: // expired, not yet valid: clocks and habits
		return AuthFailed, Low
	}
}
