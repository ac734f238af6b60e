package register

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/registry"
)

// choice is an endpoint to call, and on request what it was chosen from.
type choice struct {
	registry.Choice
	Explanation *registry.Explanation `json:"explanation,omitempty"`
}

// resolve hands out one endpoint of a healthy instance, or says why there is none.
func (s *Service) resolve(w http.ResponseWriter, r *http.Request) error {
	p, view, err := s.view(w, r, s.registry.View)
	if err != nil {
		return err
	}
	params, err := httpx.Query(r, "environment", "explain")
	if err != nil {
		return err
	}
	explain, err := params.Bool("explain")
	if err != nil {
		return err
	}
	// The caller's own environment; operators have none and ask from the deployment's.
	env := cmp.Or(p.Environment, s.cfg.Environment)
	if params.Has("environment") {
		if env, err = auth.ParseEnvironment(params["environment"]); err != nil {
			return httpx.InvalidRequest("the request is not valid", httpx.FieldError{
				Field: "environment", Message: "want production, staging or development",
			})
		}
	}
	ref, endpoint := r.PathValue("ref"), r.PathValue("endpoint")
	picked, err := view.Resolve(env, ref, endpoint)
	s.count(r, view, err == nil)
	if none, ok := errors.AsType[*registry.NoEndpointError](err); ok {
		s.tellQuarantine(p, &none.Explanation)
		return noEndpoint(none)
	}
	if err != nil {
		return err
	}
	if !explain {
		var room [512]byte
		body := picked.AppendJSON(room[:0])
		if same, err := httpx.NotModified(w, r, tagOf(body)); same || err != nil {
			return err
		}
		httpx.AppendJSON(w, http.StatusOK, func(b []byte) []byte { return append(append(b, body...), '\n') })
		return nil
	}
	x := view.ExplainChoice(env, ref, endpoint, picked)
	answer := choice{picked, &x}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if same, err := httpx.NotModified(w, r, tagOf(body)); same || err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, answer)
}

// tagOf is the entity tag of an answer that has no generation.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// noEndpoint is the 404 that says why, instance by instance.
func noEndpoint(none *registry.NoEndpointError) *httpx.Error {
	x := none.Explanation
	return httpx.NotFound(none.Error()).
		With("service_name", x.ServiceName).With("environment", x.Environment).With("endpoint", x.Endpoint).
		With("reasons", x.Excluded)
}

// tellQuarantine adds why a service is in quarantine, which is not for everyone to know.
func (s *Service) tellQuarantine(p auth.Principal, x *registry.Explanation) {
	st := s.trust.Latest()
	service, err := auth.ParseSubject(x.ServiceName)
	if err != nil || st == nil || !p.Scopes.Has(auth.AdminRead) {
		return
	}
	if q, ok := st.Quarantine(service); ok && q.Reason != "" {
		for i := range x.Excluded {
			if why := &x.Excluded[i]; why.Reason == string(registry.Quarantined) {
				why.Detail += ": " + q.Reason
			}
		}
	}
}
