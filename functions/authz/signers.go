package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/trust"
)

var errNoSigningKey = errors.New("no signing key is current")

// signingKey is a private key of the platform, ready to use.
type signingKey struct {
	id        string
	signer    *token.Signer
	decisions *decisionKey
}

// signers fetches signing keys from Secret Manager by the version that the store names, once each.
type signers struct {
	trust   *trust.Source
	secrets *secrets.Client

	mu   sync.Mutex
	keys map[string]*signingKey // by kid; a kid's key never changes, and the store bounds how many there are
}

func newSigners(t *trust.Source, c *secrets.Client) *signers {
	return &signers{trust: t, secrets: c, keys: make(map[string]*signingKey)}
}

// current returns the key that signs now.
func (s *signers) current(ctx context.Context) (*signingKey, error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return nil, err
	}
	rec, ok := st.CurrentKey()
	if !ok {
		return nil, errNoSigningKey
	}
	return s.load(ctx, rec)
}

// hinted returns the keys whose id begins so, also those that sign no more: one, as ids are made here.
func (s *signers) hinted(ctx context.Context, kid string) ([]*signingKey, error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return nil, err
	}
	var keys []*signingKey
	for _, rec := range st.Signing {
		if !strings.HasPrefix(rec.ID, kid) {
			continue
		}
		key, err := s.load(ctx, rec)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (s *signers) load(ctx context.Context, rec trust.SigningKey) (*signingKey, error) {
	s.mu.Lock()
	key, ok := s.keys[rec.ID]
	s.mu.Unlock()
	if ok {
		return key, nil
	}
	value, err := s.secrets.Access(ctx, trust.SigningKeySecret, rec.SecretVersion)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", rec.ID, err)
	}
	private, algorithm, err := token.ParsePrivateKey(value.Reveal())
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", rec.ID, err)
	}
	if algorithm != rec.Algorithm {
		return nil, fmt.Errorf("signing key %s: the secret holds a key for %s, the record says %s", rec.ID, algorithm, rec.Algorithm)
	}
	signer, err := token.NewSigner(rec.ID, algorithm, private)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", rec.ID, err)
	}
	decisions, err := deriveDecisionKey(value.Reveal())
	if err != nil {
		return nil, err
	}
	key = &signingKey{id: rec.ID, signer: signer, decisions: decisions}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[rec.ID] = key
	return key, nil
}
