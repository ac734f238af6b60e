package token

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a key set.
const (
	maxKeySetSize = 1 << 20
	maxKeys       = 1000
)

// KeySet is an immutable set of public keys with distinct ids. It implements Keys; a nil *KeySet holds
// none.
type KeySet struct {
	keys []Key
	byID map[string]Key
}

// NewKeySet returns the set of the given keys, in that order.
func NewKeySet(keys ...Key) (*KeySet, error) {
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("key set: %w: more than %d keys", ErrInvalidKey, maxKeys)
	}
	set := &KeySet{keys: slices.Clone(keys), byID: make(map[string]Key, len(keys))}
	for _, k := range keys {
		if err := k.validate(); err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		if _, ok := set.byID[k.ID]; ok {
			return nil, fmt.Errorf("key set: %w: two keys have the id %q", ErrInvalidKey, k.ID)
		}
		set.byID[k.ID] = k
	}
	return set, nil
}

// Key returns the key of an id, or ErrUnknownKey.
func (s *KeySet) Key(_ context.Context, kid string) (Key, error) {
	if s != nil {
		if k, ok := s.byID[kid]; ok {
			return k, nil
		}
	}
	return Key{}, ErrUnknownKey
}

// Keys returns the keys of the set in its order.
func (s *KeySet) Keys() []Key {
	if s == nil {
		return nil
	}
	return slices.Clone(s.keys)
}

// MarshalJSON returns the set as a JSON Web Key Set (RFC 7517 §5).
func (s *KeySet) MarshalJSON() ([]byte, error) {
	set := struct {
		Keys []jsontext.Value `json:"keys"`
	}{Keys: []jsontext.Value{}}
	for _, k := range s.Keys() {
		one, err := k.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		set.Keys = append(set.Keys, one)
	}
	return json.Marshal(set)
}

// ParseJWKS parses a JSON Web Key Set of at most 1 MiB and 1000 keys.
//
// Keys that are of no use here are left out, as RFC 7517 §5 has it: another kty, crv, alg or use than
// ours, no alg, or an RSA key outside the supported sizes. Everything that is wrong rather than foreign
// refuses the whole set: duplicate members, a kid that stands twice, a key of ours without kid or with
// the alg of another kind, parameters that are no key, and private members, since a private key that
// lies in a public set is nobody's any more.
func ParseJWKS(data []byte) (*KeySet, error) {
	if len(data) > maxKeySetSize {
		return nil, fmt.Errorf("key set: %w: longer than %d bytes", ErrInvalidKey, maxKeySetSize)
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := unmarshalObject(data, &set); err != nil {
		return nil, fmt.Errorf("key set: %w: %w", ErrInvalidKey, err)
	}
	if set.Keys == nil {
		return nil, fmt.Errorf("key set: %w: it has no member keys", ErrInvalidKey)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("key set: %w: more than %d keys", ErrInvalidKey, maxKeys)
	}
	seen := make(map[string]bool, len(set.Keys))
	keys := make([]Key, 0, len(set.Keys))
	for i, w := range set.Keys {
		if w.KeyID != "" && seen[w.KeyID] {
			return nil, fmt.Errorf("key set: %w: two keys have the id %q", ErrInvalidKey, clip(w.KeyID))
		}
		seen[w.KeyID] = true
		k, err := w.key()
		if errors.Is(err, errUnsupported) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key set: key %d: %w", i, err)
		}
		keys = append(keys, k)
	}
	return NewKeySet(keys...)
}
