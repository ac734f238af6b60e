package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

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

	seen atomic.Pointer[trust.State] // whose keys have been prepared

	mu      sync.Mutex
	keys    map[string]*signingKey // by kid; a kid's key never changes, and the store bounds how many there are
	loading map[string]bool        // by kid: fetched by a goroutine
}

func newSigners(t *trust.Source, c *secrets.Client) *signers {
	return &signers{trust: t, secrets: c, keys: make(map[string]*signingKey), loading: make(map[string]bool)}
}

// current returns the key that signs now.
func (s *signers) current(ctx context.Context) (*signingKey, error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return nil, err
	}
	s.prepare(ctx, st)
	rec, ok := st.CurrentKey()
	if !ok {
		return nil, errNoSigningKey
	}
	return s.load(ctx, rec)
}

// sealing returns the key that decisions are sealed with: the one that signs or, until its secret has been
// read, the one that did before. Nobody waits for Secret Manager to hear that a token is good.
func (s *signers) sealing(ctx context.Context) (*signingKey, error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return nil, err
	}
	s.prepare(ctx, st)
	rec, ok := st.CurrentKey()
	if !ok {
		return nil, errNoSigningKey
	}
	if key := s.loaded(rec.ID); key != nil {
		return key, nil
	}
	for _, other := range st.Signing {
		if key := s.loaded(other.ID); key != nil && other.State == trust.KeyPrevious {
			return key, nil
		}
	}
	return s.load(ctx, rec)
}

// prepare fetches the key that signs and the one that will sign next, once for each look at the store until it
// has them, so that a rotation makes nobody wait.
func (s *signers) prepare(ctx context.Context, st *trust.State) {
	if s.seen.Load() == st || s.seen.Swap(st) == st {
		return
	}
	for _, rec := range st.Signing {
		if rec.State != trust.KeyNext && rec.State != trust.KeyCurrent {
			continue
		}
		s.mu.Lock()
		busy := s.keys[rec.ID] != nil || s.loading[rec.ID]
		if !busy {
			s.loading[rec.ID] = true
		}
		s.mu.Unlock()
		if busy {
			continue
		}
		go func() {
			_, _ = s.load(context.WithoutCancel(ctx), rec) // whoever needs it hears of the error
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.loading, rec.ID)
		}()
	}
}

// loaded returns a key that has been fetched; nil otherwise.
func (s *signers) loaded(kid string) *signingKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[kid]
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
	if key := s.loaded(rec.ID); key != nil {
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
	key := &signingKey{id: rec.ID, signer: signer, decisions: decisions}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[rec.ID] = key
	return key, nil
}
