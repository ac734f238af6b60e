package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

const (
	// retention is how long what is left of a deleted or expired document stays, except for nonces.
	retention = 24 * time.Hour

	sweepPerCommit = 32
	sweepBatch     = 1024
)

// Sweep removes the documents that have been deleted or expired for 24 hours, and expired nonces. Every
// commit removes a few; Sweep removes all that are due, and returns how many they were.
func (db *DB) Sweep(ctx context.Context) (int, error) {
	total := 0
	for {
		removed, err := db.sweep(ctx)
		total += removed
		if err != nil {
			return total, fmt.Errorf("sweep: %w", err)
		}
		if removed < sweepBatch {
			return total, nil
		}
	}
}

func (db *DB) sweep(ctx context.Context) (removed int, err error) {
	if db.readOnly {
		return 0, fmt.Errorf("%w: opened read-only", store.ErrInvalid)
	}
	select {
	case db.lead <- struct{}{}:
		defer func() { <-db.lead }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	err = db.update(func(w *writer) error {
		before := w.removed
		err := w.sweep(sweepBatch)
		removed = w.removed - before
		return err
	})
	if err != nil {
		return 0, err
	}
	return removed, ctx.Err()
}

// sweep removes at most so many of the documents that are due. One that is damaged stays for verification
// to find.
func (w *writer) sweep(most int) error {
	b, err := bucket(w.tx, dueBucket)
	if err != nil {
		return err
	}
	type due struct {
		key []byte
		doc store.Document
	}
	var found []due
	cursor := b.Cursor()
	looked := 0
	for k, v := cursor.First(); k != nil && looked < 2*most && len(found) < most; k, v = cursor.Next() {
		if len(k) < 8 || int64(binary.BigEndian.Uint64(k)) > w.now.UnixMicro() { // #nosec G115 -- written by dueKey
			break
		}
		looked++
		if _, err := unseal(dueBucket, k, v); err != nil {
			continue
		}
		collection, id, _ := strings.Cut(string(k[8:]), "/")
		d, err := load(w.tx, store.Ref{Collection: collection, ID: id})
		if err != nil || d.Generation == 0 || !bytes.Equal(dueKey(d), k) {
			continue
		}
		found = append(found, due{append([]byte(nil), k...), d})
	}
	for _, f := range found {
		if err := w.unlist(f.doc); err != nil {
			return err
		}
		if err := remove(w.tx, documents+f.doc.Ref.Collection, []byte(f.doc.Ref.ID)); err != nil {
			return err
		}
		if err := w.logRemoval(f.doc); err != nil {
			return err
		}
		w.removed++
	}
	return nil
}
