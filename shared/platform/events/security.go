package events

import (
	"encoding/json"
	"fmt"
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

// SecurityKind is what a security event is about.
type SecurityKind string

// The kinds there are.
const (
	AuthFailed     SecurityKind = "auth_failed"
	ReplayDetected SecurityKind = "replay_detected"
	ScopeViolation SecurityKind = "scope_violation"
	TokenShared    SecurityKind = "token_shared"
	Quarantined    SecurityKind = "quarantined"
	UntrustedProxy SecurityKind = "untrusted_proxy"
)

var securityKinds = []SecurityKind{AuthFailed, ReplayDetected, ScopeViolation, TokenShared, Quarantined, UntrustedProxy}

// Type returns the type of the kind's events.
func (k SecurityKind) Type() string { return "com.isectech.security." + string(k) + ".v1" }

// Incident is what a security event says. None of it may be a credential.
type Incident struct {
	Kind        SecurityKind      `json:"kind"`
	Severity    Severity          `json:"severity"`
	ServiceName string            `json:"service_name,omitempty"` // whom it concerns; also the event's subject
	Reason      auth.Reason       `json:"reason,omitempty"`
	Detail      string            `json:"detail,omitempty"`
	RequestID   string            `json:"request_id,omitempty"`
	Evidence    map[string]string `json:"evidence,omitempty"`
	OccurredAt  time.Time         `json:"occurred_at,omitzero"`
}

// Security returns the event of an incident. id must be unique among the publisher's events; "" leaves it to
// the Emitter.
func Security(id string, incident Incident) (Event, error) {
	data, err := json.Marshal(incident)
	if err != nil {
		return Event{}, fmt.Errorf("%w: incident %s: %w", ErrInvalid, incident.Kind, err)
	}
	return Event{
		ID: id, Type: incident.Kind.Type(), Subject: incident.ServiceName, Time: incident.OccurredAt,
		Data: data, ContentType: "application/json",
	}, nil
}

// Classify returns the kind and the severity of a refusal.
func Classify(reason auth.Reason) (SecurityKind, Severity) {
	switch reason {
	case auth.Replayed:
		return ReplayDetected, High
	case auth.InsufficientScope, auth.UntrustedEdge:
		return ScopeViolation, Medium
	case auth.Quarantined:
		return Quarantined, High
	case auth.UntrustedProxy:
		return UntrustedProxy, High
	case auth.BadSignature, auth.UnknownKey, auth.WrongIssuer, auth.WrongAudience, auth.IdentityMismatch, auth.Revoked:
		return AuthFailed, High // somebody shows what was not given to them, or not for this
	case auth.MalformedToken, auth.UnknownService, auth.NoCredentials:
		return AuthFailed, Medium
	default: // expired, not yet valid, too often: clocks and habits
		return AuthFailed, Low
	}
}
