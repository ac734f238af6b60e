package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// Prepared is a batch that has been found valid, with its data in canonical form.
type Prepared struct {
	batch Batch
	data  []json.RawMessage
}

// Prepare validates a batch and makes its data canonical: what a back end does once, before its attempts.
func Prepare(b Batch) (Prepared, error) {
	if err := validBatch(b); err != nil {
		return Prepared{}, err
	}
	data, err := canonicalWrites(b.Writes)
	if err != nil {
		return Prepared{}, err
	}
	return Prepared{batch: b, data: data}, nil
}

// Refs returns the documents that the batch writes, in its order: what Plan wants to know the state of.
func (p Prepared) Refs() []Ref {
	refs := make([]Ref, len(p.batch.Writes))
	for i, w := range p.batch.Writes {
		refs[i] = w.Ref
	}
	return refs
}

// Once returns the journal document whose existence says that the batch has been applied before; false
// when the batch may be applied any number of times.
func (p Prepared) Once() (Ref, bool) {
	if p.batch.Once == "" {
		return Ref{}, false
	}
	return OnceRef(p.batch.Once), true
}

// Outcome is what a commit writes.
type Outcome struct {
	// Documents are the batch's, in the order of its writes, without UpdatedAt. One whose Generation is 0
	// is not written: it was to be deleted and is not there.
	Documents []Document
	// Journal are the documents to create in the journal, without UpdatedAt. None of them may exist: the
	// one of Prepared.Once exists when the batch has been applied before, any other when another commit
	// was quicker.
	Journal []Document
}

// Plan decides what the batch does to the current state at a time; the caller performs it, atomically and
// only if the state is still that one. current holds the documents of Refs as they are stored, tombstones
// and expired ones included; for one that is not stored it is the zero Document or, in a journaled
// collection, what Remains gives. commit is an id that no other commit has.
//
// It returns a *ConflictError for the first write whose precondition does not hold.
func (p Prepared) Plan(current []Document, now time.Time, commit string) (Outcome, error) {
	now = now.UTC().Truncate(time.Microsecond)
	out := Outcome{Documents: make([]Document, len(current))}
	for i, w := range p.batch.Writes {
		cur := current[i]
		live := cur.Live(now)
		if !w.If.Holds(cur, now) {
			conflict := &ConflictError{Ref: w.Ref}
			if live {
				conflict.Generation = cur.Generation
			}
			return Outcome{}, conflict
		}
		if w.Data == nil && !live {
			continue
		}
		next := Document{Ref: w.Ref, Generation: cur.Generation + 1, UpdatedBy: p.batch.Actor}
		if w.Data == nil {
			next.Deleted = true
		} else {
			next.Data = p.data[i]
			if !w.ExpiresAt.IsZero() {
				next.ExpiresAt = w.ExpiresAt.UTC().Truncate(time.Microsecond)
			}
		}
		if Journaled(w.Ref.Collection) {
			entry := p.entry(cur, next, live, now, commit)
			if len(out.Journal) == 0 && p.batch.Once != "" {
				entry.ID = OnceRef(p.batch.Once).ID
			}
			entry.Hash = entry.digest()
			next.Head = entry.Hash
			doc, err := entry.document()
			if err != nil {
				return Outcome{}, err
			}
			out.Journal = append(out.Journal, doc)
		}
		out.Documents[i] = next
	}
	if p.batch.Once != "" && len(out.Journal) == 0 {
		// Nothing to journal, but the key must stay used: what is absent now may be there when the
		// batch comes again.
		doc, err := p.marker(now, commit)
		if err != nil {
			return Outcome{}, err
		}
		out.Journal = append(out.Journal, doc)
	}
	return out, nil
}

func (p Prepared) entry(cur, next Document, live bool, now time.Time, commit string) Entry {
	e := Entry{
		ID:       EntryID(next.Ref.String(), next.Generation),
		Object:   next.Ref.String(),
		Sequence: next.Generation,
		Op:       OpUpdate,
		Actor:    p.batch.Actor,
		Cause:    p.batch.Cause,
		Commit:   commit,
		At:       now,
		Occurred: occurred(p.batch.OccurredAt),
		Expiry:   next.ExpiresAt,
		Prev:     cur.Head,
	}
	switch {
	case next.Deleted:
		e.Op = OpDelete
	case !live:
		e.Op = OpCreate
	}
	if live {
		e.Before = Digest(cur)
	}
	if !next.Deleted {
		e.After = Digest(next)
	}
	return e
}

func occurred(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

func (p Prepared) marker(now time.Time, commit string) (Document, error) {
	ref := OnceRef(p.batch.Once)
	data, err := Canonical(map[string]any{
		"once": true, "actor": p.batch.Actor, "cause": p.batch.Cause, "commit": commit, "at": now,
	})
	if err != nil {
		return Document{}, fmt.Errorf("%s: %w", ref, err)
	}
	return Document{Ref: ref, Generation: 1, UpdatedBy: p.batch.Actor, Data: data}, nil
}

// Remains gives the state of a document of which nothing is stored but its last journal entry: a
// tombstone, from which generations and chain go on.
func Remains(ref Ref, last Entry) Document {
	return Document{Ref: ref, Generation: last.Sequence, UpdatedBy: last.Actor, Deleted: true, Head: last.Hash}
}
