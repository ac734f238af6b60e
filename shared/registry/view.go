package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

// View is the registry as one request sees it: a snapshot, the names in force, and the moment at which
// leases are judged. It is cheap to make and must not outlive the request.
type View struct {
	snapshot  *Snapshot
	names     Names
	isolation Isolation // nil: nothing is in quarantine
	now       int64     // microseconds
	age       time.Duration
}

// View returns the registry as it is now. A snapshot older than Options.Freshness is brought up to date
// first; when the store cannot be reached, the last one is served, up to Options.MaxStale, and Age tells.
func (r *Registry) View(ctx context.Context) (View, error) { return r.view(ctx, false) }

// Whole is a View whose Index covers what this process has written, at the price of a look at the store after
// each of its writes.
func (r *Registry) Whole(ctx context.Context) (View, error) { return r.view(ctx, true) }

func (r *Registry) view(ctx context.Context, whole bool) (View, error) {
	now := r.now()
	if err := r.fresh.ensure(ctx, now, whole); err != nil {
		return View{}, err
	}
	age, _ := r.fresh.age(now)
	v := View{snapshot: r.cache.current.Load(), names: r.names(), now: now.UnixMicro(), age: age}
	if r.isolation != nil {
		v.isolation = r.isolation(ctx)
	}
	return v, nil
}

// Index is the commit time, in microseconds since 1970, of the newest change contained such that none before it
// is missing: whoever watches on from there is told of all that comes.
func (v View) Index() int64 { return v.snapshot.whole }

// Age is how long a change may have gone unseen.
func (v View) Age() time.Duration { return v.age }

// Len is the number of instances.
func (v View) Len() int { return v.snapshot.entries.size }

// Instance returns an instance by its id, lapsed or not.
func (v View) Instance(id string) (Instance, bool) {
	e, ok := v.snapshot.entries.get(id)
	if !ok {
		return Instance{}, false
	}
	return v.instance(e), true
}

// ServiceName returns the name of the service that a name or alias means. While the names are not known
// it looks among the services that have instances, by the name and by the alias without its prefix.
func (v View) ServiceName(ref string) (string, bool) {
	if v.names != nil {
		subject, ok := v.names.Resolve(ref)
		if !ok || subject.IsOperator() {
			return "", false
		}
		return subject.String(), true
	}
	for _, name := range []string{ref, auth.ServicePrefix + ref} {
		if _, ok := v.snapshot.services.get(name); ok {
			return name, true
		}
	}
	return "", false
}

// Counts is how many instances there are in each state.
type Counts struct {
	Total    int            `json:"total"`
	Statuses map[Status]int `json:"statuses"` // every status, whatever the lease
	Lapsed   int            `json:"lapsed"`   // of all statuses
}

// Counts counts the instances. It looks at every lease, which at 100,000 instances takes some
// milliseconds.
func (v View) Counts() Counts {
	c := Counts{Total: v.snapshot.entries.size, Statuses: make(map[Status]int, statusCount)}
	for i, s := range Statuses() {
		c.Statuses[s] = v.snapshot.statuses[i]
	}
	for e := range v.snapshot.entries.all() {
		if e.lapsed(v.now) {
			c.Lapsed++
		}
		if status := v.status(e); status != e.Status {
			c.Statuses[e.Status]--
			c.Statuses[status]++
		}
	}
	return c
}

// notFound says that there is no such service or instance.
func notFound(ref string) error {
	return fmt.Errorf("service or instance %s: %w", quote(ref), store.ErrNotFound)
}
