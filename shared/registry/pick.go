package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

// Choice is one endpoint of one instance, chosen to be called.
type Choice struct {
	ServiceID string `json:"service_id"`
	URL       string `json:"url"`
	Protocol  string `json:"protocol"`
	Port      int    `json:"port"`
	Path      string `json:"path"`
}

func choose(e *entry, at *Endpoint) Choice {
	return Choice{e.ServiceID, at.URL, at.Protocol, at.Port, at.Path}
}

// ErrNoEndpoint is wrapped by the error of a choice among none.
var ErrNoEndpoint = errors.New("no endpoint")

// NoEndpointError says why there is nothing to choose from. It unwraps to ErrNoEndpoint and, since there
// is nothing of the kind, to store.ErrNotFound.
type NoEndpointError struct{ Explanation Explanation }

// Error names the first reasons.
func (e *NoEndpointError) Error() string {
	x := e.Explanation
	var reasons []string
	for _, why := range x.Excluded[:min(3, len(x.Excluded))] {
		reasons = append(reasons, strings.TrimSpace(why.ServiceID+" "+why.Detail))
	}
	if len(reasons) == 0 {
		reasons = []string{"there are no instances"}
	}
	return fmt.Sprintf("%s %q of %s in %s: %s", ErrNoEndpoint, x.Endpoint, x.ServiceName, x.Environment, strings.Join(reasons, "; "))
}

// Unwrap makes errors.Is true for both.
func (e *NoEndpointError) Unwrap() []error { return []error{ErrNoEndpoint, store.ErrNotFound} }

// Resolve chooses an endpoint of an instance in an environment: among those that are healthy, or degraded
// where none is healthy, by weighted round robin. ref is a service's name or alias, or else an instance's
// id. The error is store.ErrNotFound for a ref that means nothing, or a *NoEndpointError. A choice that
// succeeds does not allocate.
func (v View) Resolve(env auth.Environment, ref, endpoint string) (Choice, error) {
	name, s, ok := v.serviceOf(ref)
	if !ok {
		return v.resolveInstance(env, ref, endpoint)
	}
	if c := v.pick(s, env, name, endpoint); c != nil {
		return c.Choice, nil
	}
	return Choice{}, &NoEndpointError{v.explain(env, name, endpoint)}
}

// serviceOf returns the service that a name or alias means, with what there is of it, nil for nothing. The usual way
// reads no name.
func (v *View) serviceOf(ref string) (name string, s *service, ok bool) {
	if v.names == nil {
		if name, ok = v.ServiceName(ref); ok {
			s = v.snapshot.services.at(hashOfService(name), name)
		}
		return name, s, ok
	}
	subject, ok := v.names.Resolve(ref)
	if !ok {
		return "", nil, false
	}
	s = v.snapshot.services.of(subject)
	return subject.String(), s, s != nil || !subject.IsOperator()
}

// pick takes the next turn, or returns nil.
func (v *View) pick(s *service, env auth.Environment, name, endpoint string) *candidate {
	at := place(env)
	if s == nil || at < 0 || s.pools[at] == nil {
		return nil
	}
	if _, out := v.isolated(name); out {
		return nil
	}
	p := s.pools[at]
	t := p.ready()
	if t == nil {
		t = p.rebuild(v.snapshot, name, env, v.now)
	}
	from := t.find(endpoint)
	if from == nil {
		return nil
	}
	turn := from.turn.Add(1)
	c, passed := from.healthy.at(turn, v.now)
	if passed > 0 && from.healthy.crowded(passed) {
		p.epoch.CompareAndSwap(t.epoch, t.epoch+1)
	}
	if c == nil {
		c, _ = from.degraded.at(turn, v.now)
	}
	return c
}

// resolveInstance returns an endpoint of one instance, under the conditions that a choice among many has.
func (v View) resolveInstance(env auth.Environment, id, endpoint string) (Choice, error) {
	e, ok := v.snapshot.entries.get(id)
	if !ok {
		return Choice{}, notFound(id)
	}
	x := Explanation{ServiceName: e.ServiceName, Environment: env, Endpoint: endpoint, Excluded: []Exclusion{}, Candidates: []Candidate{}}
	if e.Environment != env {
		x.Excluded = append(x.Excluded, elsewhere(e.Environment, 1))
		return Choice{}, &NoEndpointError{x}
	}
	if why, out := v.exclusion(e, endpoint); out {
		x.Excluded = append(x.Excluded, why)
		return Choice{}, &NoEndpointError{x}
	}
	at, _ := e.endpoint(endpoint)
	return choose(e, at), nil
}
