package boltstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/isectech/service-networking/shared/store"
)

// groupSize bounds how many commits share a transaction.
const groupSize = 64

// request is one Commit that waits in the queue.
type request struct {
	ctx      context.Context
	prepared store.Prepared
	done     chan struct{} // closed when docs and err are set
	docs     []store.Document
	err      error
}

// Commit writes a batch. Commits that arrive while another one waits for the disk go together into the
// next transaction, each for itself all or nothing.
func (db *DB) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	docs, err := db.commit(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return docs, nil
}

func (db *DB) commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	prepared, err := store.Prepare(b)
	if err != nil {
		return nil, err
	}
	if db.readOnly {
		return nil, fmt.Errorf("%w: opened read-only", store.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, prepared: prepared, done: make(chan struct{})}
	db.queueMu.Lock()
	db.queue = append(db.queue, r)
	db.queueMu.Unlock()
	for {
		select {
		case <-r.done:
			return r.docs, r.err
		case db.lead <- struct{}{}:
			db.commitGroup()
			<-db.lead
		case <-ctx.Done():
			if db.withdraw(r) {
				return nil, ctx.Err()
			}
			<-r.done
			return r.docs, r.err
		}
	}
}

// withdraw takes a request out of the queue; false if somebody is about to commit it.
func (db *DB) withdraw(r *request) bool {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	i := slices.Index(db.queue, r)
	if i < 0 {
		return false
	}
	db.queue = slices.Delete(db.queue, i, i+1)
	return true
}

// commitGroup commits what is in the queue. Only who holds lead calls it.
func (db *DB) commitGroup() {
	db.queueMu.Lock()
	group := slices.Clone(db.queue[:min(len(db.queue), groupSize)])
	db.queue = slices.Delete(db.queue, 0, len(group))
	db.queueMu.Unlock()
	if len(group) == 0 {
		return
	}
	err := db.update(func(w *writer) error {
		for _, r := range group {
			if err := w.commit(r); err != nil {
				return err
			}
		}
		return w.sweep(sweepPerCommit)
	})
	for _, r := range group {
		if err != nil {
			r.docs, r.err = nil, err
		}
		close(r.done)
	}
}

// update runs fn in the write transaction. After a failure nothing is written any more until the file is
// opened anew: what the disk holds is then read, not guessed.
func (db *DB) update(fn func(w *writer) error) error {
	if err := db.isBroken(); err != nil {
		return err
	}
	appended := false
	err := guard(func() error {
		return db.bolt.Update(func(tx *bbolt.Tx) error {
			w, err := newWriter(tx, db.now())
			if err != nil {
				return err
			}
			w.logged = db.changelog.collections
			defer func() { appended = w.appended }()
			if err := fn(w); err != nil {
				return err
			}
			return w.finish()
		})
	})
	if err == nil {
		if appended {
			db.wakeLog()
		}
		return nil
	}
	if !errors.Is(err, store.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	err = fmt.Errorf("writing has stopped: %w", err)
	db.broken.CompareAndSwap(nil, &err)
	return err
}

// writer is a write transaction with its clock.
type writer struct {
	tx      *bbolt.Tx
	now     time.Time
	clock   store.Position // the last position given out
	moved   bool
	removed int // documents swept

	logged   map[string]bool // the collections that are logged
	appended bool            // to the log
}

func newWriter(tx *bbolt.Tx, now time.Time) (*writer, error) {
	w := &writer{tx: tx, now: now}
	payload, err := get(tx, metaBucket, []byte(clockKey))
	if err != nil {
		return nil, err
	}
	if payload != nil {
		if len(payload) != 8 {
			return nil, corruptAt(metaBucket, []byte(clockKey), errRecord)
		}
		w.clock = store.Position(binary.BigEndian.Uint64(payload)) // #nosec G115 -- written by positionKey
	}
	return w, nil
}

// tick gives out the next commit time: now, or a microsecond after the last one if the clock has stood
// still or gone back.
func (w *writer) tick() time.Time {
	w.clock = max(w.clock+1, store.Position(w.now.UnixMicro()))
	w.moved = true
	return time.UnixMicro(int64(w.clock)).UTC()
}

func (w *writer) finish() error {
	if !w.moved {
		return nil
	}
	return put(w.tx, metaBucket, []byte(clockKey), positionKey(w.clock))
}

// commit decides and performs one request. What is wrong with the request is its own result; an error is
// the whole transaction's.
func (w *writer) commit(r *request) error {
	current, out, err := w.plan(r)
	if err != nil {
		r.err = err
		return nil //nolint:nilerr // it is this request's own, not the transaction's
	}
	for i, d := range out.Documents {
		if d.Generation == 0 {
			continue
		}
		if d.UpdatedAt, err = w.put(current[i], d); err != nil {
			return err
		}
		if err := w.log(current[i], d); err != nil {
			return err
		}
		out.Documents[i] = d
	}
	for _, d := range out.Journal {
		if _, err := w.put(store.Document{}, d); err != nil {
			return err
		}
		if err := w.index(d); err != nil {
			return err
		}
	}
	r.docs = out.Documents
	return nil
}

// plan reads the state and decides. It writes nothing.
func (w *writer) plan(r *request) (current []store.Document, out store.Outcome, err error) {
	if err := r.ctx.Err(); err != nil {
		return nil, out, err
	}
	if once, ok := r.prepared.Once(); ok {
		d, err := load(w.tx, once)
		if err != nil {
			return nil, out, err
		}
		if d.Generation > 0 {
			return nil, out, fmt.Errorf("%s: %w", once, store.ErrDuplicate)
		}
	}
	refs := r.prepared.Refs()
	current = make([]store.Document, len(refs))
	for i, ref := range refs {
		if current[i], err = w.current(ref); err != nil {
			return nil, out, err
		}
	}
	out, err = r.prepared.Plan(current, w.now, rand.Text())
	if err != nil {
		return nil, out, err
	}
	for _, d := range out.Journal {
		there, err := load(w.tx, d.Ref)
		if err != nil {
			return nil, out, err
		}
		if there.Generation > 0 {
			return nil, out, &store.CorruptError{Ref: d.Ref, Err: errors.New("the journal is ahead of its document")}
		}
	}
	return current, out, nil
}

// current returns the state of a document that a commit goes on from.
func (w *writer) current(ref store.Ref) (store.Document, error) {
	d, err := load(w.tx, ref)
	if err != nil || d.Generation > 0 || !store.Journaled(ref.Collection) {
		return d, err
	}
	b, err := bucket(w.tx, entriesBucket)
	if err != nil {
		return d, err
	}
	prefix := []byte(ref.String() + "/")
	cursor := b.Cursor()
	before := cursor.Prev
	if k, _ := cursor.Seek(append(bytes.Clone(prefix), 0xff)); k == nil {
		before = cursor.Last
	}
	k, v := before()
	if !bytes.HasPrefix(k, prefix) {
		return store.Document{}, nil
	}
	id, err := unseal(entriesBucket, k, v)
	if err != nil {
		return d, corruptAt(entriesBucket, k, err)
	}
	stored, err := load(w.tx, store.Ref{Collection: store.Journal, ID: string(id)})
	if err != nil {
		return d, err
	}
	last, err := store.EntryOf(stored)
	if err != nil {
		return d, err
	}
	return store.Remains(ref, last), nil
}

// put stores a document in the place of old and returns its commit time.
func (w *writer) put(old, d store.Document) (time.Time, error) {
	d.UpdatedAt = w.tick()
	if old.Generation > 0 && !old.UpdatedAt.IsZero() {
		if err := w.unlist(old); err != nil {
			return time.Time{}, err
		}
	}
	if err := put(w.tx, documents+d.Ref.Collection, []byte(d.Ref.ID), encodeRecord(d)); err != nil {
		return time.Time{}, err
	}
	if err := put(w.tx, feed+d.Ref.Collection, positionKey(d.Position()), []byte(d.Ref.ID)); err != nil {
		return time.Time{}, err
	}
	if due := dueKey(d); due != nil {
		return d.UpdatedAt, put(w.tx, dueBucket, due, nil)
	}
	return d.UpdatedAt, nil
}

// unlist removes a stored document's places in the feed and among what is due.
func (w *writer) unlist(d store.Document) error {
	if err := remove(w.tx, feed+d.Ref.Collection, positionKey(d.Position())); err != nil {
		return err
	}
	if due := dueKey(d); due != nil {
		return remove(w.tx, dueBucket, due)
	}
	return nil
}

// index enters a journal document under its key; a marker of Batch.Once has none.
func (w *writer) index(d store.Document) error {
	e, err := store.EntryOf(d)
	if err != nil {
		return nil //nolint:nilerr // not an entry: a marker, which no chain has
	}
	return put(w.tx, entriesBucket, []byte(store.EntryKey(e.Object, e.Sequence)), []byte(d.Ref.ID))
}
