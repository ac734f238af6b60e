package register

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/registry"
)

// list lists instances, page by page.
func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	_, view, err := s.view(w, r, s.registry.Whole)
	if err != nil {
		return err
	}
	filter, params, err := filterOf(r, filterParams)
	if err != nil {
		return err
	}
	listing, err := view.List(filter)
	if err != nil {
		return err
	}
	return s.answerList(w, r, params, listing, "")
}

// get answers by a service's name, an alias or an instance's id, in this order.
func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	_, view, err := s.view(w, r, s.registry.Whole)
	if err != nil {
		return err
	}
	filter, params, err := filterOf(r, filterParams[1:])
	if err != nil {
		return err
	}
	ref := r.PathValue("ref")
	if name, ok := view.ServiceName(ref); ok {
		filter.Name = name
		listing, err := view.List(filter)
		if err != nil {
			return err
		}
		s.count(r, view, len(listing.Instances) > 0)
		return s.answerList(w, r, params, listing, name)
	}
	instance, ok := view.Instance(ref)
	s.count(r, view, ok)
	if !ok {
		return httpx.NotFound("there is no service and no instance of that name")
	}
	if same, err := httpx.NotModified(w, r, instance.ETag()); same || err != nil {
		return err
	}
	fields, err := parseSelection(params["fields"])
	if err != nil {
		return err
	}
	if fields == nil {
		httpx.AppendJSON(w, http.StatusOK, func(b []byte) []byte { return append(instance.AppendJSON(b), '\n') })
		return nil
	}
	body, err := fields.of(instance)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, body)
}

// answerList answers with a listing, of a service where name is one.
func (s *Service) answerList(w http.ResponseWriter, r *http.Request, params httpx.Values, listing registry.Listing, name string) error {
	if same, err := httpx.NotModified(w, r, registry.ETagOf(listing.Instances, listing.Next)); same || err != nil {
		return err
	}
	fields, err := parseSelection(params["fields"])
	if err != nil {
		return err
	}
	if fields == nil {
		httpx.AppendJSON(w, http.StatusOK, func(b []byte) []byte { return appendList(b, listing, name) })
		return nil
	}
	services := make([]any, len(listing.Instances))
	for i, instance := range listing.Instances {
		if services[i], err = fields.of(instance); err != nil {
			return err
		}
	}
	body := map[string]any{"services": services, "next_page_token": listing.Next}
	if name != "" {
		body["service_name"] = name
	}
	return httpx.WriteJSON(w, http.StatusOK, body)
}

// appendList appends a listing in JSON. The token and the name have no character that JSON would want escaped.
func appendList(b []byte, listing registry.Listing, name string) []byte {
	b = append(append(b, `{"next_page_token":"`...), listing.Next...)
	if name != "" {
		b = append(append(b, `","service_name":"`...), name...)
	}
	b = append(b, `","services":[`...)
	for i := range listing.Instances {
		if i > 0 {
			b = append(b, ',')
		}
		b = listing.Instances[i].AppendJSON(b)
	}
	return append(b, "]}\n"...)
}

// view authenticates a reader and returns the registry as look has it, with the headers that say how new that is.
func (s *Service) view(w http.ResponseWriter, r *http.Request, look func(context.Context) (registry.View, error)) (auth.Principal, registry.View, error) {
	p, _, err := s.guard.Caller(r, readers)
	if err != nil {
		return p, registry.View{}, err
	}
	view, err := look(r.Context())
	if err != nil {
		s.metrics.DiscoveryQuery("error")
		return p, view, err
	}
	stamp(w, view)
	return p, view, nil
}

// stamp says how new an answer is.
func stamp(w http.ResponseWriter, view registry.View) {
	w.Header().Set("X-Registry-Index", strconv.FormatInt(view.Index(), 10))
	w.Header().Set("X-Registry-Age", strconv.FormatFloat(view.Age().Seconds(), 'f', 3, 64))
}

// staleAfter is the age from which an answer counts as stale: the store was asked for newer and did not answer.
const staleAfter = 2 * time.Second

// count counts a look-up. Of those that found something, which nearly all are, few get a line in the log.
func (s *Service) count(r *http.Request, view registry.View, found bool) {
	switch {
	case view.Age() > staleAfter:
		s.metrics.DiscoveryQuery("stale")
	case found:
		s.metrics.DiscoveryQuery("hit")
		if rand.Float64() >= s.cfg.HitLogRate { //nolint:gosec // a sample of log lines needs no secrecy
			telemetry.Quiet(r.Context())
		}
	default:
		s.metrics.DiscoveryQuery("miss")
	}
}

// health says whether the registry can be read; the counts only to those who prove who they are.
func (s *Service) health(w http.ResponseWriter, r *http.Request) error {
	view, err := s.registry.View(r.Context())
	if err != nil {
		return err
	}
	stamp(w, view)
	if _, err := s.trust.State(r.Context()); err != nil {
		return httpx.Unavailable(5*time.Second, "the policy cannot be read").
			With("status", "unavailable").With("index", view.Index()).Because(err)
	}
	body := map[string]any{"status": "ok", "index": view.Index(), "age_seconds": view.Age().Seconds()}
	if _, _, err := s.guard.Caller(r, guard.Access{}); err == nil {
		counts := view.Counts()
		body["services"], body["statuses"], body["lapsed"] = counts.Total, counts.Statuses, counts.Lapsed
		body["watching"] = s.registry.Watching() // by this process
	}
	return httpx.WriteJSON(w, http.StatusOK, body)
}
