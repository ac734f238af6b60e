package authz

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// A decision's id carries all that is needed to decide again, so that explaining one needs no stored
// record: the base64url of a version byte, the evidence, and a truncated HMAC over both. It is
// authenticated, not secret, and holds no credential.

// errDecisionID means that an id was not made here, or with a key that is gone.
var errDecisionID = errors.New("not a decision of this platform")

// Bounds of what a caller's words take up in an id.
const (
	maxEvidenceMethod = 33      // one more than a method has
	maxEvidenceName   = 64      // of an audience
	maxDecisionID     = 3 << 10 // more than those bounds allow
	decisionVersion   = 2
	decisionMACLength = 16
	keyHint           = 12 // characters of a kid, of 43
)

// seal turns evidence into a decision id.
func (s *Service) seal(ctx context.Context, e evidence) (string, error) {
	key, err := s.signers.sealing(ctx)
	if err != nil {
		return "", err
	}
	e.ID, e.KeyID = rand.Uint64(), key.id[:min(len(key.id), keyHint)] //nolint:gosec // it is to be unlike others, and no secret
	e.Path = policy.AbridgePath(e.Path)
	e.Method = e.Method[:min(len(e.Method), maxEvidenceMethod)]
	e.Audience = e.Audience[:min(len(e.Audience), maxEvidenceName)]
	return key.decisions.seal(&e), nil
}

// open returns the evidence in a decision id made by seal.
func (s *Service) open(ctx context.Context, id string) (evidence, error) {
	var e evidence
	if len(id) > maxDecisionID || strings.ContainsAny(id, "\r\n") { // line breaks the decoder would skip
		return e, errDecisionID
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) <= 1+decisionMACLength || raw[0] != decisionVersion {
		return e, errDecisionID
	}
	signed, mac := raw[:len(raw)-decisionMACLength], raw[len(raw)-decisionMACLength:]
	if !e.read(signed[1:]) {
		return evidence{}, errDecisionID
	}
	if e.KeyID == "" { // which is how every id begins
		return evidence{}, errDecisionID
	}
	keys, err := s.signers.hinted(ctx, e.KeyID)
	if err != nil {
		return evidence{}, err
	}
	for _, key := range keys {
		if key.decisions.made(signed, mac) {
			return e, nil
		}
	}
	return evidence{}, errDecisionID
}

// decisionKey makes the ids of decisions. Its benches are used again, since every request has an id.
type decisionKey struct{ benches sync.Pool }

// bench is what one id at a time is made on.
type bench struct {
	hmac hash.Hash
	raw  []byte
	id   []byte
}

// deriveDecisionKey makes the key of decision ids from a signing key's secret bytes (RFC 5869), so that
// every instance has the same one without another secret to keep.
func deriveDecisionKey(secret []byte) (*decisionKey, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "isectech decision id v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive decision key: %w", err)
	}
	return &decisionKey{sync.Pool{New: func() any { return &bench{hmac: hmac.New(sha256.New, key)} }}}, nil
}

// seal makes an id of evidence.
func (k *decisionKey) seal(e *evidence) string {
	b, _ := k.benches.Get().(*bench)
	defer k.benches.Put(b)
	b.raw = e.append(append(b.raw[:0], decisionVersion))
	end := len(b.raw) + decisionMACLength
	b.raw = b.sum(b.raw)
	b.id = base64.RawURLEncoding.AppendEncode(b.id[:0], b.raw[:end])
	return string(b.id)
}

// made reports whether an HMAC is that of what it stands behind.
func (k *decisionKey) made(signed, mac []byte) bool {
	b, _ := k.benches.Get().(*bench)
	defer k.benches.Put(b)
	b.raw = b.sum(append(b.raw[:0], signed...))
	return hmac.Equal(mac, b.raw[len(signed):len(signed)+decisionMACLength])
}

// sum appends the HMAC of raw to it.
func (b *bench) sum(raw []byte) []byte {
	b.hmac.Reset()
	b.hmac.Write(raw)
	return b.hmac.Sum(raw)
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
