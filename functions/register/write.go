package register

import (
	"errors"
	"net/http"
	"strings"

	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/registry"
)

// register registers an instance, or registers it again.
func (s *Service) register(w http.ResponseWriter, r *http.Request) error {
	call, body, err := s.callWithBody(r)
	if err != nil {
		return err
	}
	params, err := httpx.Query(r, "dry_run")
	if err != nil {
		return err
	}
	if call.DryRun, err = params.Bool("dry_run"); err != nil {
		return err
	}
	reg, findings := registry.Decode(body)
	if len(findings) > 0 {
		return malformed(findings)
	}
	reg.ServiceName = s.canonical(reg.ServiceName)
	instance, outcome, err := s.registry.Register(r.Context(), call, reg)
	if err != nil {
		return s.refused(r, call, err)
	}
	if call.DryRun {
		return httpx.WriteJSON(w, http.StatusOK, rehearsal{true, outcome, instance})
	}
	status := http.StatusOK
	if outcome == registry.Created {
		status = http.StatusCreated
		w.Header().Set("Location", "/internal/registry/services/"+instance.ServiceID)
	}
	return s.answer(w, status, instance)
}

// rehearsal is what a registration would come to. The generation is the one that the record has now, 0 where there is
// none: the one that an If-Match would name.
type rehearsal struct {
	DryRun  bool              `json:"dry_run"`
	Outcome registry.Outcome  `json:"outcome"`
	Service registry.Instance `json:"service"`
}

// heartbeat renews the lease of an instance.
func (s *Service) heartbeat(w http.ResponseWriter, r *http.Request) error {
	call, err := s.call(r)
	if err != nil {
		return err
	}
	instance, err := s.registry.Heartbeat(r.Context(), call, r.PathValue("ref"))
	if err != nil {
		return s.refused(r, call, err)
	}
	return s.answer(w, http.StatusOK, instance)
}

// patch changes what its owner may change of an instance.
func (s *Service) patch(w http.ResponseWriter, r *http.Request) error {
	call, body, err := s.callWithBody(r)
	if err != nil {
		return err
	}
	patch, findings := registry.DecodePatch(body)
	if len(findings) > 0 {
		return malformed(findings)
	}
	instance, err := s.registry.Patch(r.Context(), call, r.PathValue("ref"), patch)
	if err != nil {
		return s.refused(r, call, err)
	}
	return s.answer(w, http.StatusOK, instance)
}

// unregister removes an instance.
func (s *Service) unregister(w http.ResponseWriter, r *http.Request) error {
	call, err := s.call(r)
	if err != nil {
		return err
	}
	if err := s.registry.Unregister(r.Context(), call, r.PathValue("ref")); err != nil {
		return s.refused(r, call, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// refused tells of a caller that would change what is another's, and returns the error to answer with.
func (s *Service) refused(r *http.Request, call registry.Call, err error) error {
	if errors.Is(err, registry.ErrNotOwner) {
		s.guard.NotOwner(r, call.By)
	}
	return err
}

// noGeneration is what an If-Match asks for that names nothing we ever gave.
const noGeneration = -2

// call returns who asks for a change, what for, and of which generation.
func (s *Service) call(r *http.Request) (registry.Call, error) {
	p, st, err := s.guard.Caller(r, writers)
	if err != nil {
		return registry.Call{}, err
	}
	p.Scopes = guard.Scopes(p, st)
	generation, ok := registry.ParseIfMatch(strings.Join(r.Header.Values("If-Match"), ","))
	if !ok {
		generation = noGeneration
	}
	return registry.Call{By: p, Cause: httpx.RequestID(r.Context()), IfMatch: generation}, nil
}

// callWithBody is call for a change that is described in the body. Who asks is settled before it is read.
func (s *Service) callWithBody(r *http.Request) (registry.Call, []byte, error) {
	call, err := s.call(r)
	if err != nil {
		return call, nil, err
	}
	body, err := httpx.ReadJSON(r, registry.MaxBody)
	return call, body, err
}

// canonical returns the name that an alias stands for; what is neither stays for the rules to refuse.
func (s *Service) canonical(name string) string {
	if names := s.names(); names != nil {
		if service, ok := names.Resolve(name); ok {
			return service.String()
		}
	}
	return name
}

func (s *Service) answer(w http.ResponseWriter, status int, instance registry.Instance) error {
	w.Header().Set("ETag", instance.ETag())
	return httpx.WriteJSON(w, status, instance)
}
