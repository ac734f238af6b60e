package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// leaseData is the document of a lease. It stands beside the record so that heartbeats neither change
// the record's generation nor reach the journal, and it lives as long as the record.
type leaseData struct {
	EndsAt   int64    `json:"ends_at_us"` // microseconds since 1970
	Duration Duration `json:"duration"`
	Asked    int64    `json:"asked_us,omitzero"` // Asked.Registered: a registration that changes nothing else is known here
}

// stored is an instance as the store has it; record is nil where there is none.
type stored struct {
	record          *Record
	generation      int64
	updatedAt       time.Time
	leaseGeneration int64 // 0 where there is no lease

	applied bool                // the call has had its effect before
	absent  *store.Precondition // what a first write demands; nil: that there is no record
}

func recordRef(id string) store.Ref { return store.Ref{Collection: store.Services, ID: id} }
func leaseRef(id string) store.Ref  { return store.Ref{Collection: store.Leases, ID: id} }

// load reads an instance and its lease, and whether the call has had its effect before.
func (r *Registry) load(ctx context.Context, call Call, id string) (stored, error) {
	refs := []store.Ref{recordRef(id), leaseRef(id)}
	if call.Once != "" {
		refs = append(refs, store.OnceRef(call.Once))
	}
	docs, err := r.store.GetAll(ctx, refs)
	if err != nil {
		return stored{}, fmt.Errorf("reading instance %s: %w", id, err)
	}
	applied := call.Once != "" && docs[2].Generation != 0
	if docs[0].Generation == 0 {
		return stored{applied: applied}, nil
	}
	record, err := decodeRecord(docs[0])
	if err != nil {
		return stored{}, err
	}
	s := stored{record: record, generation: docs[0].Generation, updatedAt: docs[0].UpdatedAt, applied: applied}
	if docs[1].Generation != 0 {
		var data leaseData
		if err := docs[1].Decode(&data); err != nil {
			return stored{}, err
		}
		s.leaseGeneration = docs[1].Generation
		record.LeaseEnd = time.UnixMicro(data.EndsAt).UTC()
		record.Asked.Registered = max(record.Asked.Registered, data.Asked)
	}
	return s, nil
}

// decodeRecord reads a record and refuses one that is not what this package writes.
func decodeRecord(doc store.Document) (*Record, error) {
	record := new(Record)
	if err := doc.Decode(record); err != nil {
		return nil, err
	}
	if record.ServiceID != doc.Ref.ID || record.Status.ordinal() < 0 || place(record.Environment) < 0 {
		return nil, fmt.Errorf("%s: %w: not the record of this instance", doc.Ref, store.ErrCorrupt)
	}
	return record, nil
}

// view returns the instance as readers see it.
func (s stored) view(now time.Time) Instance {
	i := Instance{
		Registration: s.record.Registration, Status: s.record.Status, StatusSince: s.record.StatusSince,
		Generation: s.generation, RegisteredAt: s.record.RegisteredAt, UpdatedAt: s.updatedAt,
		StatusReason: s.record.StatusReason, Lapsed: s.record.Lapsed(now),
	}
	if end := s.record.LeaseEnd; s.record.Lease != 0 && !end.IsZero() {
		i.LeaseExpiresAt = &end
	}
	return i
}

// save writes what a decision changed, if the instance is still as it was loaded. Afterwards the
// snapshot holds it, so that the writer reads its own write.
func (r *Registry) save(ctx context.Context, call Call, was stored, next Record, effect Effect) (Instance, error) {
	id := next.ServiceID
	var writes []store.Write
	switch {
	case effect != LeaseOnly:
	case next.Lease == 0:
		effect = Nothing
	case was.leaseGeneration == 0:
		effect = All // only the record's generation can tell that it was not unregistered meanwhile
	}
	if effect == All {
		condition := store.Absent()
		switch {
		case was.record != nil:
			condition = store.AtGeneration(was.generation)
		case was.absent != nil:
			condition = *was.absent
		}
		writes = append(writes, store.Write{Ref: recordRef(id), Data: next, If: condition})
	}
	switch {
	case next.Lease == 0:
		if was.leaseGeneration != 0 {
			writes = append(writes, store.Write{Ref: leaseRef(id)})
		}
	case was.record == nil || !next.LeaseEnd.Equal(was.record.LeaseEnd) || next.Lease != was.record.Lease ||
		next.Asked.Registered != was.record.Asked.Registered:
		w := store.Write{Ref: leaseRef(id), Data: leaseData{next.LeaseEnd.UnixMicro(), next.Lease, next.Asked.Registered}}
		if effect == LeaseOnly {
			w.If = store.AtGeneration(was.leaseGeneration)
		}
		writes = append(writes, w)
	}
	now := was
	now.record = &next
	if effect != Nothing && len(writes) > 0 && !call.DryRun {
		docs, err := r.commit(ctx, call, writes)
		if err != nil {
			return Instance{}, err
		}
		if effect == All {
			now.generation, now.updatedAt = docs[0].Generation, docs[0].UpdatedAt
		}
	}
	return now.view(r.now()), nil
}

// commit commits and applies what was committed to the snapshot.
func (r *Registry) commit(ctx context.Context, call Call, writes []store.Write) ([]store.Document, error) {
	batch := store.Batch{Writes: writes, Actor: call.By.Subject.String(), Cause: call.Cause, OccurredAt: call.OccurredAt}
	if writes[0].Ref.Collection == store.Services { // a lease alone may be renewed again
		batch.Once = call.Once
	}
	docs, err := r.store.Commit(ctx, batch)
	if err != nil {
		return nil, fmt.Errorf("writing instance %s: %w", writes[0].Ref.ID, err)
	}
	r.cache.applyOwn(docs, r.now())
	return docs, nil
}
