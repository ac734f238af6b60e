package authz

import (
	"encoding/binary"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// evidence is what a decision was made from.
type evidence struct {
	ID            uint64 // random, so that two equal decisions differ
	At            int64  // Unix milliseconds
	KeyID         string // the first of the signing key's id that the HMAC's key derives from
	PolicyVersion int64
	Caller        string
	Environment   auth.Environment
	Target        string
	Audience      string
	Method        string
	Path          string
	Held          auth.Scopes
	Required      auth.Scopes
	UnknownScopes bool   // something was required that is no scope
	Isolated      string // which of the two is in quarantine
	AuthMethod    auth.Method
	Reason        auth.Reason
}

// question is the evidence as the policy is asked it.
func (e *evidence) question() (policy.Question, error) {
	caller, err := auth.ParseSubject(e.Caller)
	if err != nil || e.Target == "" {
		return e.about(caller, auth.Subject{}), err
	}
	target, err := auth.ParseSubject(e.Target)
	return e.about(caller, target), err
}

// about is question for whoever has the caller and the target at hand.
func (e *evidence) about(caller, target auth.Subject) policy.Question {
	return policy.Question{
		Caller: caller, Environment: e.Environment, Target: target, Audience: e.Audience, Method: e.Method, Path: e.Path,
		Held: e.Held, Required: e.Required,
		Revoked: e.Reason == auth.Revoked, Quarantined: e.Reason == auth.Quarantined, RateLimited: e.Reason == auth.RateLimited,
	}
}

// The fields of evidence as bytes: a letter for each, followed by a number, or by a text's length and the text.
// A field of zero is left out, so that one may be added without a new version.
const (
	fieldID            = 'i'
	fieldAt            = 't'
	fieldKeyID         = 'k'
	fieldPolicyVersion = 'v'
	fieldCaller        = 'c'
	fieldEnvironment   = 'e'
	fieldTarget        = 'g'
	fieldAudience      = 'a'
	fieldSameAudience  = 's' // 1: the target
	fieldMethod        = 'm'
	fieldPath          = 'p'
	fieldHeld          = 'h'
	fieldRequired      = 'r'
	fieldUnknownScopes = 'u'
	fieldIsolated      = 'q'
	fieldAuthMethod    = 'n'
	fieldReason        = 'x'
)

// append appends the evidence to b.
func (e *evidence) append(b []byte) []byte {
	audience, same := e.Audience, e.Audience != "" && e.Audience == e.Target
	if same {
		audience = ""
	}
	b = appendNumber(b, fieldID, e.ID)
	b = appendNumber(b, fieldAt, uint64(e.At))                       //nolint:gosec // and back
	b = appendNumber(b, fieldPolicyVersion, uint64(e.PolicyVersion)) //nolint:gosec // and back
	b = appendNumber(b, fieldHeld, uint64(e.Held))
	b = appendNumber(b, fieldRequired, uint64(e.Required))
	b = appendNumber(b, fieldUnknownScopes, one(e.UnknownScopes))
	b = appendNumber(b, fieldSameAudience, one(same))
	b = appendText(b, fieldKeyID, e.KeyID)
	b = appendText(b, fieldCaller, e.Caller)
	b = appendText(b, fieldEnvironment, string(e.Environment))
	b = appendText(b, fieldTarget, e.Target)
	b = appendText(b, fieldAudience, audience)
	b = appendText(b, fieldMethod, e.Method)
	b = appendText(b, fieldPath, e.Path)
	b = appendText(b, fieldIsolated, e.Isolated)
	b = appendText(b, fieldAuthMethod, string(e.AuthMethod))
	return appendText(b, fieldReason, string(e.Reason))
}

// one is 1 for yes.
func one(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

func appendNumber(b []byte, field byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, field), n)
}

func appendText(b []byte, field byte, s string) []byte {
	if s == "" {
		return b
	}
	return append(binary.AppendUvarint(append(b, field), uint64(len(s))), s...)
}

// read reads what append wrote; false for what it cannot have written. Whether it did is for the HMAC to say.
func (e *evidence) read(b []byte) bool {
	same := false
	for len(b) > 0 {
		field := b[0]
		n, size := binary.Uvarint(b[1:])
		if size <= 0 {
			return false
		}
		b = b[1+size:]
		if field == fieldSameAudience {
			same = n != 0
			continue
		}
		if e.readNumber(field, n) {
			continue
		}
		if n > uint64(len(b)) || !e.readText(field, string(b[:n])) {
			return false
		}
		b = b[n:]
	}
	if same {
		e.Audience = e.Target
	}
	return true
}

func (e *evidence) readNumber(field byte, n uint64) bool {
	switch field {
	case fieldID:
		e.ID = n
	case fieldAt:
		e.At = int64(n) //nolint:gosec // as it was written
	case fieldPolicyVersion:
		e.PolicyVersion = int64(n) //nolint:gosec // as it was written
	case fieldHeld:
		e.Held = auth.Scopes(n) //nolint:gosec // as it was written
	case fieldRequired:
		e.Required = auth.Scopes(n) //nolint:gosec // as it was written
	case fieldUnknownScopes:
		e.UnknownScopes = n != 0
	default:
		return false
	}
	return true
}

func (e *evidence) readText(field byte, s string) bool {
	switch field {
	case fieldKeyID:
		e.KeyID = s
	case fieldCaller:
		e.Caller = s
	case fieldEnvironment:
		e.Environment = auth.Environment(s)
	case fieldTarget:
		e.Target = s
	case fieldAudience:
		e.Audience = s
	case fieldMethod:
		e.Method = s
	case fieldPath:
		e.Path = s
	case fieldIsolated:
		e.Isolated = s
	case fieldAuthMethod:
		e.AuthMethod = auth.Method(s)
	case fieldReason:
		e.Reason = auth.Reason(s)
	default:
		return false
	}
	return true
}
