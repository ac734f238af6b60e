package registry

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// ErrTooOld means that not all changes since an index are known any more: the watcher reads everything
// anew and watches on from there.
var ErrTooOld = errors.New("the index is too old")

// ChangeType says what became of an instance.
type ChangeType string

// The types of changes.
const (
	InstanceCreated ChangeType = "created"
	InstanceUpdated ChangeType = "updated"
	InstanceDeleted ChangeType = "deleted"
)

// Change is one instance that is no more as it was, in its latest state.
type Change struct {
	Type ChangeType
	// Instance is complete, or after a deletion only its id, service, environment and time.
	Instance Instance
}

// departure is an instance that has been removed.
type departure struct {
	id, name string
	env      auth.Environment
	at       int64 // commit time in microseconds
}

// maxDepartures bounds how many removed instances are remembered for watchers.
const maxDepartures = 10_000

// depart remembers an instance that has been removed. Snapshots share the list: each sees as much of it
// as there was when it was made.
func (s *Snapshot) depart(e *entry, at int64) {
	if len(s.gone) >= 2*maxDepartures {
		s.horizon = s.gone[maxDepartures-1].at
		s.gone = slices.Clone(s.gone[maxDepartures:])
	}
	s.gone = append(s.gone, departure{e.ServiceID, e.ServiceName, e.Environment, at})
}

// begin makes everything from here on known: what was removed before the first reading ended is not.
func (s *Snapshot) begin() { s.horizon = s.index }

// ChangesSince returns the instances that changed after an index, oldest change first: those of a service,
// by name or alias, or of an environment, or both, or all. Index 0 gives everything there is. The error is
// ErrTooOld.
func (v View) ChangesSince(index int64, ref string, env auth.Environment) ([]Change, error) {
	if index != 0 && index < v.snapshot.horizon {
		return nil, fmt.Errorf("%w: changes are known since %d", ErrTooOld, v.snapshot.horizon)
	}
	if index >= v.snapshot.whole {
		return nil, nil
	}
	f := Filter{Environment: env}
	if ref != "" {
		name, ok := v.ServiceName(ref)
		if !ok {
			return nil, nil
		}
		f.Name = name
	}
	var found []Change
	kind, term := f.narrowest()
	for id := range v.snapshot.postings.ids(kind, term, "") {
		e, _ := v.snapshot.entries.get(id)
		if at := e.updatedAt.UnixMicro(); at > index && at <= v.snapshot.whole && v.lets(f, e) {
			found = append(found, Change{changeType(e, index), v.instance(e)})
		}
	}
	if index != 0 {
		found = append(found, v.departuresSince(index, f)...)
	}
	slices.SortStableFunc(found, func(a, b Change) int {
		return cmp.Compare(a.Instance.UpdatedAt.UnixMicro(), b.Instance.UpdatedAt.UnixMicro())
	})
	return found, nil
}

func changeType(e *entry, index int64) ChangeType {
	if e.generation == 1 || e.RegisteredAt.UnixMicro() > index {
		return InstanceCreated
	}
	return InstanceUpdated
}

// departuresSince leaves out instances that are back.
func (v View) departuresSince(index int64, f Filter) []Change {
	var found []Change
	for _, d := range slices.Backward(v.snapshot.gone) {
		if d.at <= index || d.at > v.snapshot.whole {
			continue // own commits and the feed's may come out of order, so the rest is looked at too
		}
		if f.Name != "" && d.name != f.Name || f.Environment != "" && d.env != f.Environment {
			continue
		}
		if _, back := v.snapshot.entries.get(d.id); back {
			continue
		}
		found = append(found, Change{InstanceDeleted, Instance{
			Registration: Registration{ServiceID: d.id, ServiceName: d.name, Environment: d.env},
			UpdatedAt:    time.UnixMicro(d.at).UTC(),
		}})
	}
	return found
}
