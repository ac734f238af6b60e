package trust

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/store"
)

// SigningKeySecret is the secret whose versions are the private keys that sign access tokens.
const SigningKeySecret = "isectech-jwt-signing-key" //nolint:gosec // the name of a secret, not a secret

// LegacySecret is the secret that old clients sign HS256 tokens with, where that is allowed.
const LegacySecret = "isectech-jwt-access-secret" //nolint:gosec // the name of a secret, not a secret

// The states of a signing key: published before it signs, signing, published after it signed, kept for the
// decisions it explains when nothing it signed is valid any more, refused.
const (
	KeyNext     = "next"
	KeyCurrent  = "current"
	KeyPrevious = "previous"
	KeyRetired  = "retired"
	KeyRevoked  = "revoked"
)

// SigningKey is the document signing_keys/<kid>.
type SigningKey struct {
	ID            string          `json:"-"` // the kid: the document's id
	Algorithm     string          `json:"algorithm"`
	State         string          `json:"state"`
	SecretVersion int64           `json:"secret_version"` // of SigningKeySecret
	JWK           json.RawMessage `json:"jwk"`            // the public key
}

// SigningKeyRef is the document of a signing key.
func SigningKeyRef(kid string) store.Ref { return store.Ref{Collection: store.SigningKeys, ID: kid} }

// maxSigningKeys bounds the key set: a rotation needs three.
const maxSigningKeys = 50

// readKeys reads the records and makes the key set that they say; where they are those of the last State, its own,
// so that whoever remembers a key finds it to be the same at a glance.
func readKeys(ctx context.Context, s store.Store, last *State) (*token.KeySet, []SigningKey, error) {
	page, err := s.Query(ctx, store.Query{Collection: store.SigningKeys, Limit: maxSigningKeys})
	if err != nil {
		return nil, nil, fmt.Errorf("read signing keys: %w", err)
	}
	records := make([]SigningKey, len(page.Documents))
	verifying := []json.RawMessage{}
	for i, doc := range page.Documents {
		if err := doc.Decode(&records[i]); err != nil {
			return nil, nil, err
		}
		records[i].ID = doc.Ref.ID
		switch records[i].State {
		case KeyNext, KeyCurrent, KeyPrevious: // a state that is none of ours lets nobody in
			verifying = append(verifying, records[i].JWK)
		}
	}
	if last != nil && reflect.DeepEqual(records, last.Signing) {
		return last.Keys, last.Signing, nil
	}
	set, err := json.Marshal(map[string][]json.RawMessage{"keys": verifying})
	if err != nil {
		return nil, nil, fmt.Errorf("signing keys: %w", err)
	}
	keys, err := token.ParseJWKS(set)
	if err != nil {
		return nil, nil, fmt.Errorf("signing keys: %w", err)
	}
	return keys, records, nil
}
