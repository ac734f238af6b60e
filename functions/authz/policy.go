package authz

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// policy shows the policy in force, or the one of an earlier version, as it can be edited and put back;
// its version is in the headers.
func (s *Service) policy(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}}); err != nil {
		return err
	}
	params, err := httpx.Query(r, "version")
	if err != nil {
		return err
	}
	version, err := params.Int("version", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	ref := trust.PolicyRef
	if version > 0 {
		ref = trust.PolicyVersionRef(version)
	}
	doc, err := s.deps.Store.Get(r.Context(), ref)
	if err != nil {
		return err
	}
	if version == 0 {
		version = doc.Generation
	}
	if same, err := httpx.NotModified(w, r, httpx.ETag(version)); same || err != nil {
		return err
	}
	text, err := trust.PolicyText(doc.Data)
	if err != nil {
		return err
	}
	w.Header().Set("X-Policy-Version", strconv.FormatInt(version, 10))
	return httpx.WriteJSON(w, http.StatusOK, text)
}

// policyVersion returns the policy as it was in a version.
func (s *Service) policyVersion(ctx context.Context, version int64) (*policy.Policy, error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return nil, err
	}
	if st.Policy.Version() == version {
		return st.Policy, nil
	}
	doc, err := s.deps.Store.Get(ctx, trust.PolicyVersionRef(version))
	if err != nil {
		return nil, err
	}
	return trust.CompilePolicy(doc.Data, version)
}
