package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/isectech/service-networking/shared/store"
)

// maxFound bounds what Check gathers.
const maxFound = 200

// Check reads the whole file, of one moment, and returns the faults it finds, joined: pages that do not
// form trees, values whose checksum does not match, documents that are not where the feed, the journal's
// index or the list of what is due have them. A damaged document is named by a *store.CorruptError.
func (db *DB) Check(ctx context.Context) error {
	c := check{ctx: ctx, db: db}
	if db.found != nil {
		c.found = append(c.found, db.found)
	}
	err := db.view(ctx, func(tx *bbolt.Tx) error {
		c.tx = tx
		if err := c.structure(); err != nil {
			return err
		}
		for _, collection := range store.Collections() {
			if err := c.collection(collection); err != nil {
				return err
			}
		}
		return errors.Join(c.journal(), c.due(), c.changelog(), c.each(metaBucket, func(_, _ []byte) error { return nil }))
	})
	return errors.Join(append(c.found, err)...)
}

// check is one run of Check. Its methods return an error only where it cannot go on.
type check struct {
	ctx   context.Context
	db    *DB
	tx    *bbolt.Tx
	found []error
}

func (c *check) structure() error {
	size := c.db.bolt.Info().PageSize
	root := uint64(c.tx.Cursor().Bucket().Root())
	w := newWalk(c.db.file, uint32(size), uint64(c.tx.Size())/uint64(size)) // #nosec G115 -- a page has at most 64 KiB
	if err := w.tree(root, "root"); err != nil {
		return &store.CorruptError{Err: err}
	}
	return nil
}

// fault keeps what is wrong, and stops the check when there is too much.
func (c *check) fault(err error) error {
	if c.found = append(c.found, err); len(c.found) >= maxFound {
		return errors.New("more is wrong than is listed")
	}
	return nil
}

// each visits the keys of a bucket whose seals hold, with the payloads.
func (c *check) each(name string, visit func(key, payload []byte) error) error {
	b, err := bucket(c.tx, name)
	if err != nil {
		return c.fault(err)
	}
	read := 0
	return b.ForEach(func(k, v []byte) error {
		if read++; read%ctxEvery == 0 && c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		payload, err := unseal(name, k, v)
		if err != nil {
			return c.fault(corruptAt(name, k, err))
		}
		return visit(k, payload)
	})
}

// there reports whether a bucket has a key with that payload.
func (c *check) there(name string, key, payload []byte) bool {
	got, err := get(c.tx, name, key)
	return err == nil && got != nil && bytes.Equal(got, payload)
}

// collection checks that each document has its place in the feed and among what is due, and that each
// place has its document.
func (c *check) collection(collection string) error {
	err := c.each(documents+collection, func(k, payload []byte) error {
		d, err := decodeRecord(store.Ref{Collection: collection, ID: string(k)}, payload)
		if err != nil {
			return c.fault(err)
		}
		if !c.there(feed+collection, positionKey(d.Position()), k) {
			return c.fault(&store.CorruptError{Ref: d.Ref, Err: errors.New("not in the feed")})
		}
		if due := dueKey(d); due != nil && !c.there(dueBucket, due, nil) {
			return c.fault(&store.CorruptError{Ref: d.Ref, Err: errors.New("not among what is due")})
		}
		if collection != store.Journal {
			return nil
		}
		if e, err := store.EntryOf(d); err == nil &&
			!c.there(entriesBucket, []byte(store.EntryKey(e.Object, e.Sequence)), k) {
			return c.fault(&store.CorruptError{Ref: d.Ref, Err: errors.New("not in the journal's index")})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(feed+collection, func(k, id []byte) error {
		if got := changeAt(c.tx, collection, k, seal(feed+collection, k, id)); got.err != nil {
			return c.fault(got.err)
		}
		return nil
	})
}

func (c *check) journal() error {
	return c.each(entriesBucket, func(k, id []byte) error {
		ref := store.Ref{Collection: store.Journal, ID: string(id)}
		d, err := load(c.tx, ref)
		if err != nil {
			return c.fault(err)
		}
		if d.Generation == 0 {
			return c.fault(&store.CorruptError{Ref: ref, Err: fmt.Errorf("missing; the index has it as %s", k)})
		}
		if e, err := store.EntryOf(d); err != nil || store.EntryKey(e.Object, e.Sequence) != string(k) {
			return c.fault(&store.CorruptError{Ref: ref, Err: fmt.Errorf("not what the index has it as, %s", k)})
		}
		return nil
	})
}

func (c *check) due() error {
	return c.each(dueBucket, func(k, _ []byte) error {
		if len(k) < 8 {
			return c.fault(corruptAt(dueBucket, k, errRecord))
		}
		collection, id, _ := bytes.Cut(k[8:], []byte("/"))
		d, err := load(c.tx, store.Ref{Collection: string(collection), ID: string(id)})
		if err != nil {
			return c.fault(err)
		}
		if !bytes.Equal(dueKey(d), k) {
			return c.fault(corruptAt(dueBucket, k, fmt.Errorf("due at %d, which its document is not", binary.BigEndian.Uint64(k))))
		}
		return nil
	})
}
