package trust

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/store"
)

// ErrPolicyTooLarge means that a policy, as it would be stored, is larger than what is read again.
var ErrPolicyTooLarge = errors.New("the policy is too large")

// PolicyWrites returns what puts a policy in the place of the one with a generation, 0 where there is none:
// both its document and the copy under its version, by which decisions are explained later, or neither.
// What could not be compiled when it is read again is not written.
func PolicyWrites(doc *policy.Document, generation int64) ([]store.Write, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if len(data) > policy.MaxDocumentBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrPolicyTooLarge, len(data), policy.MaxDocumentBytes)
	}
	next := generation + 1
	if _, err := CompilePolicy(data, next); err != nil {
		return nil, err
	}
	condition := store.AtGeneration(generation)
	if generation == 0 {
		condition = store.Absent()
	}
	return []store.Write{
		{Ref: PolicyRef, Data: json.RawMessage(data), If: condition},
		{Ref: PolicyVersionRef(next), Data: json.RawMessage(data), If: store.Absent()},
	}, nil
}
