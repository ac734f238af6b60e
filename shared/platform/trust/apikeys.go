package trust

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/store"
)

// APIKeys is the document api_keys/<service_name>.
type APIKeys struct {
	Versions []int64 `json:"versions"` // of APIKeySecret that are valid: one, or two during a rotation
}

// APIKeysRef is the document that says which keys of a service are valid.
func APIKeysRef(service auth.Subject) store.Ref {
	return store.Ref{Collection: store.APIKeys, ID: service.String()}
}

// APIKeySecret is the secret whose versions are a service's API keys.
func APIKeySecret(service auth.Subject) string { return "isectech-api-key-" + service.String() }

// KeyID is the key id of a version of a service's API key.
func KeyID(version int64) string { return "k" + strconv.FormatInt(version, 10) }

// KeyVersion is the version that a key id names.
func KeyVersion(id string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(id, "k"), 10, 64)
	if err != nil || n < 1 || KeyID(n) != id {
		return 0, fmt.Errorf("key id %.32q: want k1, k2, …", id)
	}
	return n, nil
}

// KeyRing reads the API keys of services. Only authz has one.
type KeyRing struct {
	store   store.Store
	secrets *secrets.Client
	now     func() time.Time

	mu    sync.Mutex
	rings map[auth.Subject]ring // of services the policy knows: bounded by it
}

type ring struct {
	versions []int64
	keys     map[int64]signature.Key // by version; a version never changes
	readAt   time.Time
}

// NewKeyRing returns a KeyRing over the store's lists of versions and the secrets they number.
func NewKeyRing(s store.Store, c *secrets.Client, now func() time.Time) *KeyRing {
	return &KeyRing{store: s, secrets: c, now: now, rings: make(map[auth.Subject]ring)}
}

// Key implements signature.Keys. The service must be one that the policy knows.
func (k *KeyRing) Key(ctx context.Context, service auth.Subject, keyID string) (signature.Key, error) {
	version, err := KeyVersion(keyID)
	if err != nil {
		return signature.Key{}, fmt.Errorf("%w: %w", signature.ErrUnknownKey, err)
	}
	r, err := k.ring(ctx, service)
	if err != nil {
		return signature.Key{}, err
	}
	if !slices.Contains(r.versions, version) {
		return signature.Key{}, fmt.Errorf("API key %s of %s: %w", keyID, service, signature.ErrUnknownKey)
	}
	if key, ok := r.keys[version]; ok {
		return key, nil
	}
	value, err := k.secrets.Access(ctx, APIKeySecret(service), version)
	if err != nil {
		return signature.Key{}, fmt.Errorf("API key %s of %s: %w", keyID, service, err)
	}
	key, err := signature.ParseKey(string(value.Reveal()))
	if err != nil {
		return signature.Key{}, fmt.Errorf("API key %s of %s: %w", keyID, service, err)
	}
	k.remember(service, version, key)
	return key, nil
}

// IDs returns the ids of a service's keys, for a MAC that does not say which of them it was made with.
func (k *KeyRing) IDs(ctx context.Context, service auth.Subject) ([]string, error) {
	r, err := k.ring(ctx, service)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(r.versions))
	for i, version := range r.versions {
		ids[i] = KeyID(version)
	}
	return ids, nil
}

func (k *KeyRing) ring(ctx context.Context, service auth.Subject) (ring, error) {
	k.mu.Lock()
	r, ok := k.rings[service]
	k.mu.Unlock()
	if ok && k.now().Sub(r.readAt) < freshFor {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	readAt := k.now()
	doc, err := k.store.Get(ctx, APIKeysRef(service))
	switch {
	case errors.Is(err, store.ErrNotFound):
		k.forget(service) // or else it would come back with the store's next failure
		return ring{}, fmt.Errorf("API keys of %s: %w", service, signature.ErrUnknownKey)
	case err != nil && ok && k.now().Sub(r.readAt) < writeFor:
		return r, nil
	case err != nil:
		return ring{}, fmt.Errorf("API keys of %s: %w", service, err)
	}
	var listed APIKeys
	if err := doc.Decode(&listed); err != nil {
		return ring{}, err
	}
	next := ring{versions: listed.Versions, keys: make(map[int64]signature.Key, len(listed.Versions)), readAt: readAt}
	for _, v := range listed.Versions {
		if key, ok := r.keys[v]; ok {
			next.keys[v] = key
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if newer, ok := k.rings[service]; ok && newer.readAt.After(readAt) {
		return newer, nil // this look was overtaken by a later one
	}
	k.rings[service] = next
	return next, nil
}

func (k *KeyRing) forget(service auth.Subject) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.rings, service)
}

func (k *KeyRing) remember(service auth.Subject, version int64, key signature.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.rings[service]
	if !ok {
		return
	}
	keys := make(map[int64]signature.Key, len(r.keys)+1) // readers hold the old map
	for v, old := range r.keys {
		keys[v] = old
	}
	keys[version] = key
	r.keys = keys
	k.rings[service] = r
}
