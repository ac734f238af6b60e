package registry

import (
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Explanation says what a choice was made from, and why the others were left out.
type Explanation struct {
	ServiceName string           `json:"service_name"`
	Environment auth.Environment `json:"environment"`
	Endpoint    string           `json:"endpoint"`
	Healthy     int              `json:"healthy"`          // instances that may be chosen
	Degraded    int              `json:"degraded"`         // instances that may be chosen while none is healthy
	Excluded    []Exclusion      `json:"excluded"`         // never nil
	Omitted     int              `json:"omitted,omitzero"` // instances that were not looked at or listed any more
	Candidates  []Candidate      `json:"candidates"`       // never nil; those that may be chosen, and how often each is
	Chosen      string           `json:"chosen,omitempty"` // the instance that was, and why; empty where none was
	Why         string           `json:"why,omitempty"`
}

// weights are those of all that may be chosen, by what they are.
type weights struct{ healthy, degraded int }

// Candidate is an instance that may be chosen.
type Candidate struct {
	ServiceID string  `json:"service_id"`
	Status    Status  `json:"status"`
	Weight    int     `json:"weight"`
	Share     float64 `json:"share"` // of the choices, from 0 to 1; 0 for one that is degraded while another is healthy
}

// Exclusion says why an instance is not chosen, and what would change it.
type Exclusion struct {
	ServiceID string     `json:"service_id,omitempty"` // empty for what concerns no single instance
	Reason    string     `json:"reason"`
	Detail    string     `json:"detail"`
	Since     *time.Time `json:"since,omitempty"`
	Remedy    string     `json:"remedy"`
}

// The reasons of exclusions that are no statuses.
const (
	reasonLapsed      = "lapsed"
	reasonWeight      = "weight_zero"
	reasonNoEndpoint  = "no_such_endpoint"
	reasonElsewhere   = "other_environment"
	reasonNoInstances = "no_instances"
)

// The bounds of an explanation.
const (
	maxExclusions = 50
	maxExamined   = 1000
)

// Explain explains the choice that Resolve makes, without taking a turn. ref is a service's name or
// alias; ok is false for one that means nothing.
func (v View) Explain(env auth.Environment, ref, endpoint string) (Explanation, bool) {
	name, ok := v.ServiceName(ref)
	if !ok {
		return Explanation{}, false
	}
	return v.explain(env, name, endpoint), true
}

// ExplainChoice explains a choice that Resolve has made.
func (v View) ExplainChoice(env auth.Environment, ref, endpoint string, made Choice) Explanation {
	x, byName := v.Explain(env, ref, endpoint)
	if !byName {
		var all weights
		x = Explanation{Environment: env, Endpoint: endpoint, Excluded: []Exclusion{}, Candidates: []Candidate{}}
		if e, ok := v.snapshot.entries.get(made.ServiceID); ok {
			x.ServiceName = e.ServiceName
			x.note(e, &all)
		}
		x.share(all)
	}
	x.Chosen = made.ServiceID
	switch {
	case !byName:
		x.Why = "it was asked for by its id, and may be chosen"
	case x.Healthy > 0:
		x.Why = fmt.Sprintf("it was its turn among those that are healthy, %d, by weight", x.Healthy)
	default:
		x.Why = fmt.Sprintf("none is healthy; it was its turn among those that are degraded, %d, by weight", x.Degraded)
	}
	return x
}

// note counts an instance that may be chosen.
func (x *Explanation) note(e *entry, all *weights) {
	if e.Status == Healthy {
		x.Healthy++
		all.healthy += e.Weight
	} else {
		x.Degraded++
		all.degraded += e.Weight
	}
	if len(x.Candidates) < maxExclusions {
		x.Candidates = append(x.Candidates, Candidate{e.ServiceID, e.Status, e.Weight, 0})
	} else {
		x.Omitted++
	}
}

// share says how often each candidate is chosen.
func (x *Explanation) share(all weights) {
	for i := range x.Candidates {
		switch c := &x.Candidates[i]; {
		case c.Status == Healthy:
			c.Share = float64(c.Weight) / float64(all.healthy)
		case x.Healthy == 0:
			c.Share = float64(c.Weight) / float64(all.degraded)
		}
	}
}

func (v View) explain(env auth.Environment, name, endpoint string) Explanation {
	x := Explanation{ServiceName: name, Environment: env, Endpoint: endpoint, Excluded: []Exclusion{}, Candidates: []Candidate{}}
	s, ok := v.snapshot.services.get(name)
	if !ok {
		x.Excluded = append(x.Excluded, Exclusion{
			Reason: reasonNoInstances, Detail: "the service has no instances", Remedy: "register one",
		})
		return x
	}
	here, examined := 0, 0
	var all weights
	if p := s.poolOf(env); p != nil {
		here = p.count
	}
	for id := range v.snapshot.postings.ids(byName, name, "") {
		if here == 0 || examined == maxExamined {
			break
		}
		e, _ := v.snapshot.entries.get(id)
		if e.Environment != env {
			continue
		}
		examined++
		why, out := v.exclusion(e, endpoint)
		switch {
		case !out:
			x.note(e, &all)
		case len(x.Excluded) < maxExclusions:
			x.Excluded = append(x.Excluded, why)
		default:
			x.Omitted++
		}
	}
	x.Omitted += here - examined
	x.share(all)
	// Of other environments no more is told than that the instances one may be looking for are there.
	for _, other := range auth.Environments() {
		if p := s.poolOf(other); p != nil && other != env {
			x.Excluded = append(x.Excluded, elsewhere(other, p.count))
		}
	}
	return x
}

// poolOf returns the pool of an environment, or nil.
func (s service) poolOf(env auth.Environment) *pool {
	if at := place(env); at >= 0 {
		return s.pools[at]
	}
	return nil
}

func elsewhere(env auth.Environment, count int) Exclusion {
	detail := fmt.Sprintf("%d instances run in %s", count, env)
	if count == 1 {
		detail = fmt.Sprintf("an instance runs in %s", env)
	}
	return Exclusion{
		Reason: reasonElsewhere, Detail: detail,
		Remedy: "register an instance in this environment, or ask for the other one with ?environment=" + string(env),
	}
}

// exclusion says why an instance of the right environment is not chosen; out is false where it may be.
func (v View) exclusion(e *entry, endpoint string) (why Exclusion, out bool) {
	why.ServiceID = e.ServiceID
	if since, isolated := v.isolated(e.ServiceName); isolated {
		at := since
		why.Reason, why.Since = string(Quarantined), &at
		why.Detail = fmt.Sprintf("its service is in quarantine since %s", since.Format(time.RFC3339))
		why.Remedy = remedies[Quarantined]
		return why, true
	}
	if _, ok := e.endpoint(endpoint); !ok {
		why.Reason, why.Detail = reasonNoEndpoint, fmt.Sprintf("it has no endpoint named %s", quote(endpoint))
		why.Remedy = "register it with such an endpoint, or ask for one that it has"
		return why, true
	}
	if e.lapsed(v.now) {
		why.Reason, why.Detail = reasonLapsed, "its lease has ended"
		if end := e.lease.end.Load(); end != 0 {
			at := time.UnixMicro(end).UTC()
			why.Since = &at
			why.Detail = fmt.Sprintf("its lease of %s ended %s ago, at %s",
				e.Lease, Duration(time.UnixMicro(v.now).Sub(at).Truncate(time.Second)), at.Format(time.RFC3339))
		}
		why.Remedy = lapsedRemedy(e)
		return why, true
	}
	if e.Status != Healthy && e.Status != Degraded {
		since := e.StatusSince
		why.Reason, why.Since = string(e.Status), &since
		why.Detail = fmt.Sprintf("it is %s since %s", e.Status, since.Format(time.RFC3339))
		if e.StatusReason != "" {
			why.Detail += ": " + e.StatusReason
		}
		why.Remedy = remedies[e.Status]
		return why, true
	}
	if e.Weight == 0 {
		why.Reason, why.Detail = reasonWeight, "its weight is 0"
		why.Remedy = "give it a weight"
		return why, true
	}
	return why, false
}

// lapsedRemedy says what it takes until an instance whose lease has ended may be chosen.
func lapsedRemedy(e *entry) string {
	switch {
	case e.Status.held():
		return "a heartbeat renews the lease; then " + remedies[e.Status]
	case e.HealthCheck.Enabled:
		return "a heartbeat brings it back, as starting; then its health check must pass"
	default:
		return "a heartbeat brings it back"
	}
}

var remedies = map[Status]string{
	Starting:    "its health check must pass; an instance without one is healthy at once",
	Unhealthy:   "its health check must pass again",
	Stopping:    "its owner registers it again, or sets it to starting",
	Maintenance: "its owner sets it to starting",
	Quarantined: "incident response must lift the quarantine",
}
