package registry

import (
	"iter"

	"github.com/isectech/service-networking/shared/auth"
)

// Serving yields the instances of a service that a choice in an environment is made among, by id: those that are
// healthy or degraded, have a weight and a lease that has not ended, and are not in quarantine. Whether a degraded
// one comes into question while another is healthy is for the caller to say, as Resolve does.
func (v View) Serving(env auth.Environment, name string) iter.Seq[Instance] {
	return func(yield func(Instance) bool) {
		if _, out := v.isolated(name); out {
			return
		}
		if s, ok := v.snapshot.services.get(name); !ok || s.poolOf(env) == nil {
			return
		}
		for id := range v.snapshot.postings.ids(byName, name, "") {
			e, _ := v.snapshot.entries.get(id)
			if e.Environment != env || e.Weight == 0 || e.lapsed(v.now) || e.Status != Healthy && e.Status != Degraded {
				continue
			}
			if !yield(v.instance(e)) {
				return
			}
		}
	}
}
