package authz

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// replaced is the answer to a new policy.
type replaced struct {
	Version  int64            `json:"version"`
	Changed  bool             `json:"changed"` // false: it says what the one in force says, and nothing was written
	Findings []policy.Finding `json:"findings"`
}

// replacePolicy puts a policy in the place of the one in force. With If-Match it is that of the version
// that the operator has seen, and of no other.
func (s *Service) replacePolicy(w http.ResponseWriter, r *http.Request) error {
	p, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminWrite}, Write: true})
	if err != nil {
		return err
	}
	body, err := httpx.ReadJSON(r, policy.MaxDocumentBytes)
	if err != nil {
		return err
	}
	doc, found, err := policy.Parse(body)
	if err != nil {
		return faultyPolicy(found)
	}
	current, err := s.deps.Store.Get(r.Context(), trust.PolicyRef)
	if err != nil {
		return err
	}
	answer := replaced{Version: current.Generation, Findings: append([]policy.Finding{}, found...)}
	// What is in force already is not written again; nor is it for an operator who asks on the condition of the
	// version before, whose first answer may have been lost (RFC 9110 §13.1.1).
	same, condition := samePolicy(doc, current.Data), httpx.CheckIfMatch(r, current.Generation)
	switch {
	case same && (condition == nil || httpx.CheckIfMatch(r, current.Generation-1) == nil):
	case condition != nil:
		return condition
	default:
		if err := s.commitPolicy(r, doc, current.Generation, p.Subject); err != nil {
			return err
		}
		answer.Version, answer.Changed = current.Generation+1, true
	}
	w.Header().Set("ETag", httpx.ETag(answer.Version))
	w.Header().Set("X-Policy-Version", strconv.FormatInt(answer.Version, 10))
	return httpx.WriteJSON(w, http.StatusOK, answer)
}

// commitPolicy writes a policy as the version after generation, unless its author would be locked out.
func (s *Service) commitPolicy(r *http.Request, doc *policy.Document, generation int64, author auth.Subject) error {
	writes, next, err := trust.PolicyWrites(doc, generation)
	switch {
	case errors.Is(err, trust.ErrPolicyTooLarge):
		return httpx.TooLarge(policy.MaxDocumentBytes).Because(err)
	case err != nil:
		return err
	}
	if !next.Grant(author, "").Has(auth.AdminWrite) {
		return httpx.Unprocessable("with this policy you could not change it again", httpx.FieldError{
			Field:   "operators",
			Message: "leave admin:write to " + author.String() + ", or let another operator who holds it take it away",
		})
	}
	_, err = s.deps.Store.Commit(r.Context(), store.Batch{
		Writes: writes, Actor: author.String(), Cause: httpx.RequestID(r.Context()),
	})
	if conflict, ok := errors.AsType[*store.ConflictError](err); ok && conflict.Ref == trust.PolicyRef {
		if r.Header.Get("If-Match") != "" {
			return httpx.PreconditionFailed(conflict.Generation).Because(err)
		}
		return httpx.Conflict(conflict.Generation, "the policy has been changed by someone else").Because(err)
	}
	if err != nil {
		return err
	}
	s.trust.Look() // so that it holds here from the answer on
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelInfo, "policy replaced",
		slog.Int64("policy_version", next.Version()), slog.String("actor", author.String()))
	return nil
}

// samePolicy reports whether a document says, in canonical form, what is stored.
func samePolicy(doc *policy.Document, stored []byte) bool {
	old, _, err := trust.ParsePolicy(stored)
	if err != nil {
		return false
	}
	a, errA := json.Marshal(doc)
	b, errB := json.Marshal(old)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// faultyPolicy is the 400 that lists the errors of a document by the paths of their fields.
func faultyPolicy(found []policy.Finding) error {
	type field struct {
		Field   string `json:"field"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	fields := []field{}
	for _, f := range found {
		if f.Severity == policy.Error {
			fields = append(fields, field{Field: f.Path, Code: f.Code, Message: f.Message})
		}
	}
	return httpx.InvalidRequest("the policy has errors").With("fields", fields)
}
