package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"go.etcd.io/bbolt"

	"github.com/isectech/service-networking/shared/store"
)

// feedBatch is how many changes one transaction reads: short transactions let the file's old pages be
// used again, and no consumer's code runs within one.
const feedBatch = 256

// load returns a document as it is stored, sharing the transaction's memory; the zero Document if there
// is none.
func load(tx *bbolt.Tx, ref store.Ref) (store.Document, error) {
	payload, err := get(tx, documents+ref.Collection, []byte(ref.ID))
	if err != nil || payload == nil {
		return store.Document{}, err
	}
	return decodeRecord(ref, payload)
}

// Get returns a live document.
func (db *DB) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	if err := ref.Validate(); err != nil {
		return store.Document{}, fmt.Errorf("get: %w", err)
	}
	var d store.Document
	err := db.view(ctx, func(tx *bbolt.Tx) (err error) {
		d, err = load(tx, ref)
		d.Data = bytes.Clone(d.Data)
		return err
	})
	if err != nil {
		return store.Document{}, fmt.Errorf("get: %w", err)
	}
	if !d.Live(db.now()) {
		return store.Document{}, fmt.Errorf("get: %s: %w", ref, store.ErrNotFound)
	}
	return d, nil
}

// GetAll returns the live documents among refs, all of one moment.
func (db *DB) GetAll(ctx context.Context, refs []store.Ref) ([]store.Document, error) {
	if err := store.ValidateRefs(refs); err != nil {
		return nil, fmt.Errorf("get all: %w", err)
	}
	docs := make([]store.Document, len(refs))
	err := db.view(ctx, func(tx *bbolt.Tx) error {
		now := db.now()
		for i, ref := range refs {
			d, err := load(tx, ref)
			if err != nil {
				return err
			}
			if d.Live(now) {
				d.Data = bytes.Clone(d.Data)
				docs[i] = d
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("get all: %w", err)
	}
	return docs, nil
}

// change is one step of the feed: a document, or why it could not be read.
type change struct {
	doc store.Document
	err error
}

// Changes yields the documents of a collection written after a position. The feed keeps one place a
// document, that of its last write, so it is as long as the collection.
func (db *DB) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		if err := store.ValidateFeed(collection, since); err != nil {
			yield(store.Document{}, fmt.Errorf("changes: %w", err))
			return
		}
		for {
			batch, last, err := db.changes(ctx, collection, since)
			if err != nil {
				yield(store.Document{}, fmt.Errorf("changes of %s: %w", collection, err))
				return
			}
			for _, c := range batch {
				if c.err != nil {
					c.err = fmt.Errorf("changes of %s: %w", collection, c.err)
				}
				if !yield(c.doc, c.err) {
					return
				}
			}
			if len(batch) < feedBatch {
				return
			}
			since = last
		}
	}
}

func (db *DB) changes(ctx context.Context, collection string, since store.Position) (batch []change, last store.Position, err error) {
	if since == math.MaxInt64 {
		return nil, since, ctx.Err()
	}
	err = db.view(ctx, func(tx *bbolt.Tx) error {
		name := feed + collection
		b, err := bucket(tx, name)
		if err != nil {
			return err
		}
		cursor := b.Cursor()
		for k, v := cursor.Seek(positionKey(since + 1)); k != nil && len(batch) < feedBatch; k, v = cursor.Next() {
			c := changeAt(tx, collection, k, v)
			switch {
			case c.err == nil:
				last = c.doc.Position()
			case len(k) == 8:
				last = store.Position(binary.BigEndian.Uint64(k)) // #nosec G115 -- where to go on
			default:
				return c.err
			}
			batch = append(batch, c)
		}
		return nil
	})
	return batch, last, err
}

// changeAt reads the document that a place in the feed stands for.
func changeAt(tx *bbolt.Tx, collection string, key, sealed []byte) change {
	id, err := unseal(feed+collection, key, sealed)
	if err != nil {
		return change{err: corruptAt(feed+collection, key, err)}
	}
	ref := store.Ref{Collection: collection, ID: string(id)}
	d, err := load(tx, ref)
	switch {
	case err != nil:
		return change{err: err}
	case d.Generation == 0 || !bytes.Equal(positionKey(d.Position()), key):
		return change{err: &store.CorruptError{Ref: ref, Err: fmt.Errorf("not where the feed has it")}}
	}
	d.Data = bytes.Clone(d.Data)
	return change{doc: d}
}
