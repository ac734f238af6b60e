package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Checker is what a back end offers that can check its own files beyond the contract: Verify asks it, and
// reports each error that it joins.
type Checker interface {
	// Check returns the faults it finds, joined; those of a document as *CorruptError.
	Check(ctx context.Context) error
}

// Verify checks the whole journal and the journaled documents against each other, at a time of the
// back end's clock. It may run while others write. It returns an error only if it could not look;
// what it finds wrong is in the report.
//
// It checks that each object's sequences are contiguous from 1, each entry's hash, its link to the entry
// before it and what it says was there before; and that each object's document, tombstone or absence is
// what the last entry left. An entry without a document is right only after a deletion or an expiry.
func Verify(ctx context.Context, s Store, now time.Time) (Report, error) {
	v := verifier{
		store:   s,
		now:     now,
		last:    make(map[string]Entry),
		damaged: make(map[string]bool),
		forged:  make(map[string]int64),
	}
	if err := v.journal(ctx); err != nil {
		return Report{}, err
	}
	// The documents are read after the journal: whatever was written in between has entries that were
	// not seen yet, and those are read one object at a time.
	for _, collection := range collections {
		if !Journaled(collection) {
			continue
		}
		if err := v.documents(ctx, collection); err != nil {
			return Report{}, err
		}
	}
	v.absent()
	if c, ok := s.(Checker); ok {
		err := c.Check(ctx)
		if ctx.Err() != nil {
			return Report{}, err
		}
		v.damage(err)
	}
	return v.finish(), nil
}

type verifier struct {
	store   Store
	now     time.Time
	report  Report
	last    map[string]Entry // of each object
	seen    map[string]bool  // objects whose document was read
	damaged map[string]bool  // journal documents that could not be read, by id: whether a fault places it
	forged  map[string]int64 // sequence of each object's last entry whose hash is not its own
}

// journal walks the journal in the order of its keys. Once a page has a damaged document it goes over to
// the feed, which does not stop there, and orders the entries itself.
func (v *verifier) journal(ctx context.Context) error {
	q := Query{Collection: Journal, OrderBy: entryKeyField, Limit: MaxPage}
	for {
		page, err := v.store.Query(ctx, q)
		if errors.Is(err, ErrCorrupt) {
			v.last = make(map[string]Entry)
			v.report = Report{}
			return v.journalFeed(ctx)
		}
		if err != nil {
			return fmt.Errorf("verify: journal: %w", err)
		}
		for _, d := range page.Documents {
			v.journalDocument(d)
		}
		if q.PageToken = page.Next; page.Next == "" {
			return nil
		}
	}
}

func (v *verifier) journalFeed(ctx context.Context) error {
	var found []Document
	for d, err := range v.store.Changes(ctx, Journal, 0) {
		switch {
		case err == nil:
			found = append(found, d)
		case errors.Is(err, ErrCorrupt):
			v.damage(err)
		default:
			return fmt.Errorf("verify: journal: %w", err)
		}
	}
	for _, d := range inKeyOrder(found) {
		v.journalDocument(d)
	}
	return nil
}

func (v *verifier) journalDocument(d Document) {
	v.report.Entries++
	e, err := EntryOf(d)
	if err != nil {
		v.damaged[d.Ref.ID] = true
		v.fault(Fault{Object: e.Object, Sequence: e.Sequence, Entry: d.Ref.ID, Problem: problem(err)})
		return
	}
	v.link(e)
}

// link judges an entry by the object's entry before it, and takes its place.
func (v *verifier) link(e Entry) {
	prev := v.last[e.Object]
	v.last[e.Object] = e
	wrong := func(problem, expected, got string) {
		v.fault(Fault{Object: e.Object, Sequence: e.Sequence, Entry: e.ID, Problem: problem, Expected: expected, Got: got})
	}
	if hash := e.digest(); hash != e.Hash {
		v.forged[e.Object] = e.Sequence
		wrong("hash is not that of the entry", hash, e.Hash)
		return
	}
	if e.Sequence != prev.Sequence+1 {
		v.gap(e, prev)
		return
	}
	if e.Prev != prev.Hash {
		wrong("link to the previous entry is broken", prev.Hash, e.Prev)
		return
	}
	switch e.Op {
	case OpCreate:
		if e.Before != "" || prev.present(e.At) {
			wrong("created over a live document", "absent", prev.After)
		}
	case OpUpdate, OpDelete:
		if e.Before == "" || e.Before != prev.After {
			wrong("content before is not what the previous entry left", prev.After, e.Before)
		}
	default:
		wrong("unknown operation", "create, update or delete", e.Op)
		return
	}
	if (e.Op == OpDelete) != (e.After == "") {
		wrong("content after does not go with the operation", e.Op, e.After)
	}
}

// gap reports the entries between two of an object, or an entry that is there twice. An entry known to be
// damaged is named by its own id.
func (v *verifier) gap(e, prev Entry) {
	f := Fault{Object: e.Object, Sequence: prev.Sequence + 1, Entry: e.ID, Problem: "entry is missing",
		Expected: strconv.FormatInt(prev.Sequence+1, 10), Got: strconv.FormatInt(e.Sequence, 10)}
	if e.Sequence <= prev.Sequence {
		f.Sequence, f.Problem = e.Sequence, "entry is there twice"
	} else if id, ok := v.damagedEntry(e.Object, prev.Sequence+1); ok {
		f.Entry, f.Problem = id, "entry is damaged"
	}
	v.fault(f)
}

// damagedEntry reports whether the entry of an object and sequence is one that could not be read. It then
// has its place, and finish need not report it without one.
func (v *verifier) damagedEntry(object string, sequence int64) (id string, ok bool) {
	id = EntryID(object, sequence)
	if _, ok = v.damaged[id]; ok {
		v.damaged[id] = true
	}
	return id, ok
}

// documents judges a collection's documents by the last entry of each.
func (v *verifier) documents(ctx context.Context, collection string) error {
	if v.seen == nil {
		v.seen = make(map[string]bool)
	}
	for d, err := range v.store.Changes(ctx, collection, 0) {
		if errors.Is(err, ErrCorrupt) {
			v.damage(err)
			continue
		}
		if err != nil {
			return fmt.Errorf("verify: %s: %w", collection, err)
		}
		if err := v.document(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) document(ctx context.Context, d Document) error {
	object := d.Ref.String()
	v.seen[object] = true
	for d.Generation > v.last[object].Sequence {
		newer, err := Entries(ctx, v.store, object, v.last[object].Sequence, MaxPage)
		if errors.Is(err, ErrCorrupt) {
			v.damage(err)
		} else if err != nil {
			return fmt.Errorf("verify: %s: %w", object, err)
		}
		if len(newer) == 0 {
			break
		}
		for _, e := range newer {
			// What came after the document was read is another verification's.
			if e.Sequence > d.Generation {
				break
			}
			v.report.Entries++
			v.link(e)
		}
		if newer[len(newer)-1].Sequence > d.Generation {
			break
		}
	}
	v.compare(d, v.last[object])
	return nil
}

// compare judges a document by its last entry.
func (v *verifier) compare(d Document, e Entry) {
	wrong := func(problem, expected, got string) {
		v.fault(Fault{Object: d.Ref.String(), Sequence: d.Generation, Entry: e.ID, Problem: problem, Expected: expected, Got: got})
	}
	digest := ""
	if !d.Deleted {
		digest = Digest(d)
	}
	switch {
	case e.Sequence != 0 && e.Sequence == v.forged[e.Object]:
		// The entry says nothing about the document.
	case d.Generation == e.Sequence+1 && v.endsDamaged(d):
	case e.Sequence == 0:
		wrong("document has no entry", "an entry", "none")
	case d.Generation != e.Sequence:
		wrong("generation is not the last entry's", strconv.FormatInt(e.Sequence, 10), strconv.FormatInt(d.Generation, 10))
	case digest != e.After:
		wrong("content is not what the last entry left", e.After, digest)
	case d.Head != e.Hash:
		wrong("head is not the last entry's hash", e.Hash, d.Head)
	case d.UpdatedBy != e.Actor:
		wrong("author is not the last entry's actor", e.Actor, d.UpdatedBy)
	}
}

// endsDamaged reports, and says, whether the entry of the document's last write could not be read.
func (v *verifier) endsDamaged(d Document) bool {
	id, ok := v.damagedEntry(d.Ref.String(), d.Generation)
	if ok {
		v.fault(Fault{Object: d.Ref.String(), Sequence: d.Generation, Entry: id, Problem: "entry is damaged"})
	}
	return ok
}

// absent judges the objects that have entries but no document.
func (v *verifier) absent() {
	for object, e := range v.last {
		if !v.seen[object] && e.present(v.now) {
			v.fault(Fault{Object: object, Sequence: e.Sequence, Entry: e.ID, Problem: "document is missing", Expected: e.After, Got: ""})
		}
	}
}

// present reports whether the entry left a document that is still there at a time.
func (e Entry) present(at time.Time) bool {
	return e.After != "" && (e.Expiry.IsZero() || e.Expiry.After(at))
}
