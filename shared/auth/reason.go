package auth

import (
	"errors"
	"net/http"
)

// Reason is the code that explains a decision to its caller, its log line and its operator.
type Reason string

// The reasons there are, in no order of judgement.
const (
	Allowed           Reason = "allowed"
	NoCredentials     Reason = "no_credentials"
	MalformedToken    Reason = "malformed_token"
	BadSignature      Reason = "bad_signature"
	UnknownKey        Reason = "unknown_key"
	Expired           Reason = "expired"
	NotYetValid       Reason = "not_yet_valid"
	WrongIssuer       Reason = "wrong_issuer"
	WrongAudience     Reason = "wrong_audience"
	IdentityMismatch  Reason = "identity_mismatch"
	Replayed          Reason = "replayed"
	Revoked           Reason = "revoked"
	Quarantined       Reason = "quarantined"
	UntrustedEdge     Reason = "untrusted_edge"
	InsufficientScope Reason = "insufficient_scope"
	RateLimited       Reason = "rate_limited"
	UnknownService    Reason = "unknown_service"
	UntrustedProxy    Reason = "untrusted_proxy"
	PolicyUnavailable Reason = "policy_unavailable"
	NonceUnavailable  Reason = "nonce_unavailable"
)

// Status returns the HTTP status that carries the reason.
func (r Reason) Status() int {
	switch r {
	case Allowed:
		return http.StatusOK
	case Quarantined, UntrustedEdge, InsufficientScope, UnknownService:
		return http.StatusForbidden
	case RateLimited:
		return http.StatusTooManyRequests
	case PolicyUnavailable, NonceUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusUnauthorized
	}
}

// Code returns the error code that an HTTP answer carries beside the reason.
func (r Reason) Code() string {
	switch r.Status() {
	case http.StatusServiceUnavailable:
		return "unavailable"
	case http.StatusUnauthorized:
		if r == NoCredentials {
			return "authentication_required"
		}
		return "authentication_failed"
	default:
		return string(r)
	}
}

// Refusal is the error of every failed authentication: a reason for the caller and a detail that is
// safe to show to it. It never holds a credential.
type Refusal struct {
	Reason Reason
	Detail string
}

// Error returns the reason and its detail.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail
}

// Refuse returns a Refusal.
func Refuse(reason Reason, detail string) error { return &Refusal{Reason: reason, Detail: detail} }

// ReasonOf returns the reason inside err, or "" when err is no refusal.
func ReasonOf(err error) Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}
