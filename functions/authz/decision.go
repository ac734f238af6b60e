package authz

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// A decision's id carries all that is needed to decide again, so that explaining one needs no stored
// record: the base64url of a version byte, a truncated HMAC over the rest, and the evidence in JSON. It
// is authenticated, not secret, and holds no credential.

// errDecisionID means that an id was not made here, or with a key that is gone.
var errDecisionID = errors.New("not a decision of this platform")

// Bounds of what a caller's words take up in an id.
const (
	maxEvidencePath   = 512
	maxEvidenceMethod = 33      // one more than a method has
	maxEvidenceName   = 64      // of an audience
	maxDecisionID     = 7 << 10 // what those bounds allow, each byte escaped
	decisionVersion   = 1
	decisionMACLength = 16
	decisionHead      = 1 + decisionMACLength
)

// evidence is what a decision was made from.
type evidence struct {
	ID            string           `json:"i"` // random, so that two equal decisions differ
	At            int64            `json:"t"` // Unix milliseconds
	KeyID         string           `json:"k"` // of the signing key that the HMAC's key derives from
	PolicyVersion int64            `json:"v"`
	Caller        string           `json:"c,omitempty"`
	Environment   auth.Environment `json:"e,omitempty"`
	Target        string           `json:"g,omitempty"`
	Audience      string           `json:"a,omitempty"`
	Method        string           `json:"m,omitempty"`
	Path          string           `json:"p,omitempty"`
	Held          auth.Scopes      `json:"h,omitempty"`
	Required      auth.Scopes      `json:"r,omitempty"`
	UnknownScopes bool             `json:"u,omitempty"` // something was required that is no scope
	Isolated      string           `json:"q,omitempty"` // which of the two is in quarantine
	AuthMethod    auth.Method      `json:"n,omitempty"`
	Reason        auth.Reason      `json:"x"`
}

// question is the evidence as the policy is asked it.
func (e evidence) question() (policy.Question, error) {
	q := policy.Question{
		Environment: e.Environment, Audience: e.Audience, Method: e.Method, Path: e.Path,
		Held: e.Held, Required: e.Required,
		Revoked: e.Reason == auth.Revoked, Quarantined: e.Reason == auth.Quarantined, RateLimited: e.Reason == auth.RateLimited,
	}
	var err error
	if q.Caller, err = auth.ParseSubject(e.Caller); err != nil {
		return q, err
	}
	if e.Target != "" {
		q.Target, err = auth.ParseSubject(e.Target)
	}
	return q, err
}

// seal turns evidence into a decision id.
func (s *Service) seal(ctx context.Context, e evidence) (string, error) {
	key, err := s.signers.current(ctx)
	if err != nil {
		return "", err
	}
	e.ID, e.KeyID = rand.Text(), key.id
	e.Path = e.Path[:min(len(e.Path), maxEvidencePath)]
	e.Method = e.Method[:min(len(e.Method), maxEvidenceMethod)]
	e.Audience = e.Audience[:min(len(e.Audience), maxEvidenceName)]
	payload, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("decision id: %w", err)
	}
	id := append([]byte{decisionVersion}, decisionMAC(key.decisionKey, payload)...)
	return base64.RawURLEncoding.EncodeToString(append(id, payload...)), nil
}

// open returns the evidence in a decision id made by seal.
func (s *Service) open(ctx context.Context, id string) (evidence, error) {
	var e evidence
	if len(id) > maxDecisionID || strings.ContainsAny(id, "\r\n") { // line breaks the decoder would skip
		return e, errDecisionID
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) <= decisionHead || raw[0] != decisionVersion {
		return e, errDecisionID
	}
	mac, payload := raw[1:decisionHead], raw[decisionHead:]
	if json.Unmarshal(payload, &e) != nil {
		return evidence{}, errDecisionID
	}
	key, err := s.signers.byID(ctx, e.KeyID)
	if err != nil {
		return evidence{}, err
	}
	if !hmac.Equal(mac, decisionMAC(key.decisionKey, payload)) {
		return evidence{}, errDecisionID
	}
	return e, nil
}

func decisionMAC(key, payload []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(payload)
	return m.Sum(nil)[:decisionMACLength]
}

// deriveDecisionKey makes the key of decision ids from a signing key's secret bytes (RFC 5869), so that
// every instance has the same one without another secret to keep.
func deriveDecisionKey(secret []byte) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "isectech decision id v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive decision key: %w", err)
	}
	return key, nil
}

func (e evidence) at() time.Time { return time.UnixMilli(e.At).UTC() }

// isolated reports whether a side of the question is in quarantine, and notes which.
func (e *evidence) isolated(q policy.Question, st *trust.State) bool {
	for _, side := range [...]auth.Subject{q.Caller, q.Target} {
		if st.Quarantined(side) {
			e.Isolated = side.String()
			return true
		}
	}
	return false
}
