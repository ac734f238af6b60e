package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// What an entry says was done.
const (
	OpCreate = "create"
	OpUpdate = "update"
	OpDelete = "delete"
)

// Entry is one write to one object, as the journal keeps it. The entries of an object form a chain: their
// sequences are 1, 2, 3 …, each is the generation that the write gave the object, and each entry holds
// the hash of the one before it.
type Entry struct {
	ID       string    `json:"id"`       // of the journal document
	Object   string    `json:"object"`   // collection/id
	Sequence int64     `json:"sequence"` // the generation that the write gave the object
	Op       string    `json:"op"`       // create, update or delete
	Actor    string    `json:"actor"`
	Cause    string    `json:"cause"`
	Commit   string    `json:"commit"`            // the same in all entries of one commit, and in no other's
	At       time.Time `json:"at"`                // the clock of whoever committed; whole microseconds
	Occurred time.Time `json:"occurred,omitzero"` // Batch.OccurredAt, where it was given
	Expiry   time.Time `json:"expiry,omitzero"`   // ExpiresAt of the object from this write on
	Before   string    `json:"before,omitempty"`  // Digest of the object before and after; "" when absent
	After    string    `json:"after,omitempty"`
	Prev     string    `json:"prev,omitempty"` // Hash of the object's previous entry; "" for the first
	Hash     string    `json:"hash"`           // SHA-256 over everything above, hexadecimal
}

// storedEntry is an entry as it lies in the journal.
type storedEntry struct {
	Entry
	Key string `json:"key"` // object/sequence in 19 digits: its order is each object's order
}

// entryKeyField is the field that orders the journal by object and sequence.
const entryKeyField = "key"

// EntryKey returns the key of an object's entry: what orders the journal by object and then by sequence.
func EntryKey(object string, sequence int64) string {
	return fmt.Sprintf("%s/%019d", object, sequence)
}

// EntryID returns the id of the journal document of an object's entry, unless that entry bears the mark of
// Batch.Once.
func EntryID(object string, sequence int64) string {
	return "e-" + hashFields("isectech-journal-id-1", object, strconv.FormatInt(sequence, 10))
}

// OnceRef returns the journal document that exists once a batch with that key has been applied.
func OnceRef(once string) Ref {
	return Ref{Journal, "o-" + hashFields("isectech-journal-once-1", once)}
}

// Digest returns the hexadecimal SHA-256 of a document's content: its data and its expiry.
func Digest(d Document) string {
	return hashFields("isectech-content-1", micros(d.ExpiresAt), string(d.Data))
}

// OccurredAt returns when what the entry tells of was asked for.
func (e Entry) OccurredAt() time.Time {
	if e.Occurred.IsZero() {
		return e.At
	}
	return e.Occurred
}

// digest computes what Hash has to be.
func (e Entry) digest() string {
	return hashFields("isectech-journal-entry-1", e.ID, e.Object, strconv.FormatInt(e.Sequence, 10), e.Op,
		e.Actor, e.Cause, e.Commit, micros(e.At), micros(e.Occurred), micros(e.Expiry), e.Before, e.After, e.Prev)
}

// hashFields hashes a list of strings, each preceded by its length, so that no two lists share a hash.
func hashFields(fields ...string) string {
	h := sha256.New()
	var length [8]byte
	for _, f := range fields {
		binary.BigEndian.PutUint64(length[:], uint64(len(f)))
		h.Write(length[:])
		h.Write([]byte(f))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func micros(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

func (e Entry) document() (Document, error) {
	data, err := Canonical(storedEntry{e, EntryKey(e.Object, e.Sequence)})
	if err != nil {
		return Document{}, fmt.Errorf("journal of %s: %w", e.Object, err)
	}
	return Document{Ref: Ref{Journal, e.ID}, Generation: 1, UpdatedBy: e.Actor, Data: data}, nil
}

// EntryOf reads the entry that a journal document holds. It returns a *CorruptError unless the document
// holds exactly what its entry makes of it; the hash is Verify's to judge.
func EntryOf(d Document) (Entry, error) {
	var s storedEntry
	if err := json.Unmarshal(d.Data, &s); err != nil {
		return Entry{}, &CorruptError{Ref: d.Ref, Err: err}
	}
	again, err := s.document()
	if err != nil {
		return s.Entry, &CorruptError{Ref: d.Ref, Err: err}
	}
	if again.Ref != d.Ref || !bytes.Equal(again.Data, d.Data) {
		return s.Entry, &CorruptError{Ref: d.Ref, Err: fmt.Errorf("not the document of an entry of %.80q", s.Object)}
	}
	return s.Entry, nil
}

// Entries returns the entries of an object (collection/id) after a sequence, oldest first, at most limit
// (1–500).
func Entries(ctx context.Context, s Store, object string, after int64, limit int) ([]Entry, error) {
	if limit < 1 || limit > maxJournalLimit || after < 0 {
		return nil, fmt.Errorf("%w: %d entries after %d", ErrInvalid, limit, after)
	}
	return entries(ctx, s, entriesQuery(object, after, limit))
}

// LastEntry returns an object's newest entry, or ErrNotFound.
func LastEntry(ctx context.Context, s Store, object string) (Entry, error) {
	q := entriesQuery(object, 0, 1)
	q.Descending = true
	found, err := entries(ctx, s, q)
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 {
		return Entry{}, fmt.Errorf("journal of %s: %w", object, ErrNotFound)
	}
	return found[0], nil
}

func entriesQuery(object string, after int64, limit int) Query {
	return Query{
		Collection: Journal,
		Where: []Filter{
			{entryKeyField, Gt, EntryKey(object, after)},
			{entryKeyField, Le, EntryKey(object, math.MaxInt64)},
		},
		OrderBy: entryKeyField,
		Limit:   limit,
	}
}

func entries(ctx context.Context, s Store, q Query) ([]Entry, error) {
	page, err := s.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	found := make([]Entry, 0, len(page.Documents))
	for _, d := range page.Documents {
		e, err := EntryOf(d)
		if err != nil {
			return found, err
		}
		found = append(found, e)
	}
	return found, nil
}

// entryKey reads the key of a journal document; "" for a marker of Batch.Once.
func entryKey(data json.RawMessage) string {
	var s struct {
		Key string `json:"key"`
	}
	if json.Unmarshal(data, &s) != nil {
		return ""
	}
	return s.Key
}
