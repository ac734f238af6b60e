package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// Forgotten decides whether a record may go: its lease has ended so long ago that nobody is expected back. What
// was put into maintenance or quarantine stays, since a new registration would know nothing of it.
func Forgotten(current Record, retention time.Duration, now time.Time) bool {
	return current.Lapsed(now) && current.Status != Maintenance && current.Status != Quarantined &&
		!current.LeaseEnd.Add(retention).After(now)
}

// Sweep removes records whose lease ended longer ago than retention, at most so many, those first that ended
// first, and returns which. What it leaves, because there were too many or it was cut short, the next one finds.
// A record is removed as it was seen, with its lease: a heartbeat or a registration that comes first wins, and of
// two sweeps one removes it.
func (r *Registry) Sweep(ctx context.Context, call Call, retention time.Duration, most int) ([]Instance, error) {
	view, err := r.Whole(ctx)
	if err != nil {
		return nil, err
	}
	var removed []Instance
	for _, id := range view.forgotten(retention, most) {
		instance, err := r.forget(ctx, call, id, retention)
		switch {
		case errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound):
			continue // somebody was there first
		case err != nil:
			return removed, fmt.Errorf("removing instance %s: %w", id, err)
		}
		removed = append(removed, instance)
	}
	return removed, nil
}

// forgotten returns the ids of records that may go, as far as is known here.
func (v View) forgotten(retention time.Duration, most int) []string {
	before := v.now - retention.Microseconds()
	var found []*entry
	for e := range v.snapshot.entries.all() {
		if status := v.status(e); e.lapsed(before) && status != Maintenance && status != Quarantined {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.lease.end.Load(), b.lease.end.Load()), cmp.Compare(a.ServiceID, b.ServiceID))
	})
	ids := make([]string, min(len(found), most))
	for i := range ids {
		ids[i] = found[i].ServiceID
	}
	return ids
}

// forget removes a record if, as it is stored, it may go; else store.ErrNotFound.
func (r *Registry) forget(ctx context.Context, call Call, id string, retention time.Duration) (Instance, error) {
	was, err := r.load(ctx, call, id)
	if err != nil {
		return Instance{}, err
	}
	if was.record == nil {
		return Instance{}, notFound(id)
	}
	judged := *was.record
	if judged.LeaseEnd.IsZero() { // its end is not known: it ended at the latest when the first one did
		judged.LeaseEnd = was.updatedAt.Add(judged.Lease.Std())
	}
	now := r.now()
	if !Forgotten(judged, retention, now) {
		return Instance{}, notFound(id)
	}
	lease := store.Write{Ref: leaseRef(id), If: store.Absent()}
	if was.leaseGeneration != 0 {
		lease.If = store.AtGeneration(was.leaseGeneration)
	}
	writes := []store.Write{{Ref: recordRef(id), If: store.AtGeneration(was.generation)}, lease}
	call.OccurredAt = judged.LeaseEnd // so that a command sent since then, and still on its way, does not come too late
	if _, err := r.commit(ctx, call, writes); err != nil {
		return Instance{}, err
	}
	return was.view(now), nil
}
