// Package store keeps documents with generations, writes several of them and their journal entries in
// one atomic commit, and feeds their changes to whoever asks from where it left off.
//
// Store is the contract; its back ends are firestorestore (Firestore) and boltstore (one local file),
// and storetest holds every one of them, and every decorator, to the words below.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
)

// The collections there are. Those of Journaled get a journal entry for every write.
const (
	Services    = "services"
	Leases      = "leases"
	Policies    = "policies"
	Revocations = "revocations"
	Quarantines = "quarantines"
	SigningKeys = "signing_keys"
	APIKeys     = "api_keys"
	Nonces      = "nonces"
	Certs       = "certificates"
	Rollouts    = "rollouts"
	Health      = "health"
	Journal     = "journal"
)

// Journaled reports whether writes to a collection are journaled: all but those that say nothing about
// anyone's decision (leases, nonces) and the journal itself.
func Journaled(collection string) bool {
	return collection != Leases && collection != Nonces && collection != Journal
}

// Errors that every back end returns, wrapped with the operation and the document.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict")    // a precondition does not hold; see ConflictError
	ErrDuplicate   = errors.New("duplicate")   // Batch.Once has been applied before
	ErrInvalid     = errors.New("invalid")     // the call itself is wrong; repeating it cannot help
	ErrCorrupt     = errors.New("corrupt")     // what is stored is not what was written
	ErrUnavailable = errors.New("unavailable") // the back end cannot be reached or did not answer in time
)

// ConflictError says which document a precondition failed on. It unwraps to ErrConflict.
type ConflictError struct {
	Ref        Ref
	Generation int64 // the current one; 0 when the document does not exist
}

// Error names the document and its generation.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: conflict: generation is %d", e.Ref, e.Generation)
}

// Unwrap makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Unwrap() error { return ErrConflict }

// CorruptError says which document is damaged. It unwraps to ErrCorrupt and to what was found.
type CorruptError struct {
	Ref Ref // the zero Ref where the damage is not a document's
	Err error
}

// Error names the document and the damage.
func (e *CorruptError) Error() string {
	if e.Ref == (Ref{}) {
		return fmt.Sprintf("corrupt: %v", e.Err)
	}
	return fmt.Sprintf("%s: corrupt: %v", e.Ref, e.Err)
}

// Unwrap makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// Ref names a document. A collection is one of the constants above; an id is 1–512 bytes of
// [A-Za-z0-9._:@-], neither "." nor "..", and not of the form "__…__", which Firestore keeps for itself.
type Ref struct{ Collection, ID string }

// String returns collection/id, which is also the journal's name of the object.
func (r Ref) String() string { return r.Collection + "/" + r.ID }

// Position is a place in a collection's feed of changes: the commit time of a change, in microseconds
// since 1970. Positions are compared, never computed with.
type Position int64

// Document is one stored document.
type Document struct {
	Ref        Ref
	Generation int64           // +1 with every write, deletion included; see Store.Commit on what outlives a deletion
	UpdatedAt  time.Time       // commit time: UTC, in whole microseconds, never before an earlier write's
	UpdatedBy  string          // the actor of the last write
	ExpiresAt  time.Time       // UTC, in whole microseconds; zero: never
	Deleted    bool            // a tombstone; only Changes returns one
	Head       string          // hash of the object's last journal entry; "" where not journaled
	Data       json.RawMessage // canonical JSON object; nil for a tombstone
}

// Decode unmarshals the document's data.
func (d Document) Decode(v any) error {
	if err := json.Unmarshal(d.Data, v); err != nil {
		return fmt.Errorf("%s: %w: %w", d.Ref, ErrCorrupt, err)
	}
	return nil
}

// Position returns the document's place in its collection's feed.
func (d Document) Position() Position { return Position(d.UpdatedAt.UnixMicro()) }

// Live reports whether the document exists at a time: neither deleted nor expired.
func (d Document) Live(now time.Time) bool {
	return d.Generation > 0 && !d.Deleted && (d.ExpiresAt.IsZero() || d.ExpiresAt.After(now))
}

// Precondition says what must hold of a document for its write to happen. The zero value demands nothing.
type Precondition struct {
	generation int64
	kind       preconditionKind
}

type preconditionKind uint8

const (
	always preconditionKind = iota
	absent
	absentSince
	atGeneration
)

// Absent demands that the document does not exist; deleted and expired documents do not.
func Absent() Precondition { return Precondition{kind: absent} }

// AbsentSince demands that the document does not exist and that nothing was written to it since the write of
// generation g, which deleted it; 0: nothing ever was. It is for journaled collections, whose generations go on.
func AbsentSince(g int64) Precondition { return Precondition{kind: absentSince, generation: g} }

// AtGeneration demands that the document exists and has generation g.
func AtGeneration(g int64) Precondition { return Precondition{kind: atGeneration, generation: g} }

// Holds reports whether the precondition is met by the current document; back ends use it.
func (p Precondition) Holds(current Document, now time.Time) bool {
	switch p.kind {
	case absent:
		return !current.Live(now)
	case absentSince:
		return !current.Live(now) && current.Generation == p.generation
	case atGeneration:
		return current.Live(now) && current.Generation == p.generation
	default:
		return true
	}
}

// Write is one document's part of a Batch.
type Write struct {
	Ref       Ref
	Data      any       // marshals to a JSON object that Canonical accepts; nil deletes the document
	ExpiresAt time.Time // zero: never; cut to whole microseconds
	If        Precondition
}

// Batch is what one Commit does: all of it or nothing.
type Batch struct {
	Writes []Write // 1–100, together at most 8 MiB, no document twice, none in Journal
	Actor  string  // who; required, at most 512 bytes
	Cause  string  // why: a request id, or a CloudEvent's source and id; required, at most 2 KiB
	// OccurredAt is when what the batch performs was asked for, where that is not now: the time of an event
	// that came by a queue. The journal keeps it, so that what was asked for earlier and comes later can be
	// told. Zero: now.
	OccurredAt time.Time
	// Once, when set, makes the batch happen at most once for ever: a second Commit with the same key
	// returns ErrDuplicate and changes nothing, whatever its writes and before any precondition is
	// judged. At least one write must be journaled. Its form is the caller's, at most 4 KiB;
	// (principal, source, id) of a CloudEvent is the intended one.
	Once string
}

// Op compares a field with a value.
type Op string

// The comparisons there are. Contains asks whether an array field holds the value.
const (
	Eq       Op = "=="
	Lt       Op = "<"
	Le       Op = "<="
	Gt       Op = ">"
	Ge       Op = ">="
	Contains Op = "contains"
)

// Filter keeps the documents whose field compares so with the value. A field is a top-level name of the
// data, or a.b for a nested one; a document without the field, or with a value of another type, is left
// out. Integers and floats are one type and compare as numbers; strings compare by their bytes.
type Filter struct {
	Field string
	Op    Op
	Value any // string of at most 1500 bytes, bool, int, int64 or float64
}

// Query asks for the live documents of a collection. OrderBy keeps those where the field is a bool, a
// number or a string of at most 1500 bytes, and orders them so: bools, numbers, strings.
type Query struct {
	Collection string
	Where      []Filter // at most 10; Lt, Le, Gt and Ge only on OrderBy; Contains at most once
	OrderBy    string   // a field, see below; "" orders by id alone
	Descending bool     // of OrderBy, which it needs, and of the id that breaks ties
	Limit      int      // 1–500 documents a page; 0 means 100
	PageToken  string   // Page.Next of the same query
}

// Page is a part of a query's answer.
type Page struct {
	Documents []Document
	Next      string // "" at the end
}

// Store keeps documents. Every method is safe for concurrent use and honours its context.
//
// A document that is deleted or whose ExpiresAt is not after now MUST be as good as absent to Get,
// GetAll, Query and preconditions, whether or not the back end has removed it yet; time comes from the
// clock the back end was made with.
type Store interface {
	// Get returns a live document, or ErrNotFound. It MUST see every commit that returned before it began.
	Get(ctx context.Context, ref Ref) (Document, error)

	// GetAll returns the live documents among refs (at most 500), in the order of refs, with a zero
	// Document (Generation 0) in the place of each that is absent.
	GetAll(ctx context.Context, refs []Ref) ([]Document, error)

	// Query returns a page of live documents in the order asked for. Paging MUST give every document
	// that is live and unchanged for the whole time exactly once, whatever else is written meanwhile.
	// A damaged document fails the page with a *CorruptError.
	Query(ctx context.Context, q Query) (Page, error)

	// Commit writes all of the batch, with one journal entry for each write to a Journaled collection,
	// or nothing; it returns the documents as written, in the order of the writes. Preconditions are
	// judged against the state that the commit replaces. A failed one MUST be reported as a
	// *ConflictError of the first such write; contention alone MUST NOT be (the back end tries again
	// until ctx ends). Deleting what is absent, without a precondition, writes nothing and is not an
	// error; its place in the answer is a zero Document.
	//
	// Generations of a journaled collection never repeat, since they go on from the journal. Elsewhere
	// they start again at 1 when a document is made anew after what was left of it has been removed: at
	// least 24 hours after its deletion or expiry (for Nonces: as soon as it has expired).
	Commit(ctx context.Context, b Batch) ([]Document, error)

	// Changes yields the documents of a collection that were written after a position, tombstones and
	// expired ones included, each in its latest state, in the order of their positions. It MUST NOT miss
	// a change that was committed before it began and is newer than since, provided since is 0 or was
	// taken from a document that an earlier Changes of the same collection yielded; documents of one
	// commit that share the position since, and had not been yielded with it, are not missed either. It
	// MAY yield documents again: compare generations. Tombstones are kept for at least 24 hours. A damaged document
	// is yielded as a *CorruptError, and what follows it still comes.
	Changes(ctx context.Context, collection string, since Position) iter.Seq2[Document, error]
}
