package trust

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/store"
)

// ErrPolicyTooLarge means that a policy, as it would be stored, is larger than what is read again.
var ErrPolicyTooLarge = errors.New("the policy is too large")

// PolicyWrites returns what puts a policy in the place of the one with a generation, 0 where there is none:
// both its document and the copy under its version, by which decisions are explained later, or neither.
// What could not be compiled when it is read again is not written; next is what it will be then.
func PolicyWrites(doc *policy.Document, generation int64) (writes []store.Write, next *policy.Policy, err error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, nil, fmt.Errorf("policy: %w", err)
	}
	if len(data) > policy.MaxDocumentBytes {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrPolicyTooLarge, len(data), policy.MaxDocumentBytes)
	}
	if next, err = CompilePolicy(data, generation+1); err != nil {
		return nil, nil, err
	}
	stored, err := packPolicy(data)
	if err != nil {
		return nil, nil, err
	}
	condition := store.AtGeneration(generation)
	if generation == 0 {
		condition = store.Absent()
	}
	return []store.Write{
		{Ref: PolicyRef, Data: stored, If: condition},
		{Ref: PolicyVersionRef(generation + 1), Data: stored, If: store.Absent()},
	}, next, nil
}

// maxPlainPolicy is how large a policy may be to be stored as it is. A document of the store has at most 10,000
// values, and each takes some bytes; a larger policy becomes one value, compressed.
const maxPlainPolicy = 32 << 10

// packedPolicy is how a large policy is stored.
type packedPolicy struct {
	Packed []byte `json:"packed"` // gzip
}

// packPolicy returns a policy as it is stored.
func packPolicy(data []byte) (json.RawMessage, error) {
	if len(data) <= maxPlainPolicy {
		return data, nil
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("pack policy: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack policy: %w", err)
	}
	stored, err := json.Marshal(packedPolicy{packed.Bytes()})
	if err == nil && len(stored) > store.MaxDocumentBytes {
		err = fmt.Errorf("%w: %d bytes when packed, at most %d are stored", ErrPolicyTooLarge, len(stored), store.MaxDocumentBytes)
	}
	return stored, err
}

// ParsePolicy is policy.Parse of a stored policy.
func ParsePolicy(data json.RawMessage) (*policy.Document, []policy.Finding, error) {
	text, err := PolicyText(data)
	if err != nil {
		return nil, nil, err
	}
	return policy.Parse(text)
}

// PolicyText returns the text of a stored policy.
func PolicyText(data json.RawMessage) (json.RawMessage, error) {
	if !bytes.HasPrefix(data, []byte(`{"packed":`)) { // as the store writes it, and no policy begins
		return data, nil
	}
	var stored packedPolicy
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, fmt.Errorf("unpack policy: %w", err)
	}
	r, err := gzip.NewReader(bytes.NewReader(stored.Packed))
	if err != nil {
		return nil, fmt.Errorf("unpack policy: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, policy.MaxDocumentBytes+1))
	if err != nil {
		return nil, fmt.Errorf("unpack policy: %w", err)
	}
	if len(text) > policy.MaxDocumentBytes {
		return nil, fmt.Errorf("unpack policy: %w", ErrPolicyTooLarge)
	}
	return text, nil
}
