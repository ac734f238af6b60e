package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/isectech/service-networking/shared/store"
)

// The changelog keeps, for the collections of Options.Log, what every single write did to its document,
// until somebody says that it is not needed any more. It stands in for the document events of a database
// that has them: Changes gives the latest state of a document, the changelog each step on the way there.
const (
	logBucket     = "log"         // sequence number → record
	createdBucket = "log.created" // ref → when the document came to be
	logKey        = "log"         // in metaBucket: the last sequence number given out
)

// maxLogRead bounds how many records ReadLog returns.
const maxLogRead = 1000

// LogRecord is what one write did to one document.
type LogRecord struct {
	Seq uint64 // orders the records as the writes were committed; never given out twice
	Ref store.Ref
	// Before is the document as it was stored, tombstones and expired ones included. Its Generation is 0
	// where nothing was stored.
	Before store.Document
	// After is the document as it is stored since, a tombstone included. Its Generation is 0 where Sweep
	// has removed it.
	After store.Document
	// Created is when the document came to be stored. It is zero for one that is older than the log.
	Created time.Time
	At      time.Time // commit time
}

// changelog is the part of an open store that concerns the log.
type changelog struct {
	collections map[string]bool
	appended    chan struct{} // closed and replaced with every append; guarded by DB.queueMu
}

func newChangelog(collections []string) (changelog, error) {
	l := changelog{collections: make(map[string]bool), appended: make(chan struct{})}
	for _, c := range collections {
		if err := store.ValidateFeed(c, 0); err != nil {
			return l, err
		}
		l.collections[c] = true
	}
	return l, nil
}

// prepareLog makes the log's buckets in a file that has none.
func (db *DB) prepareLog() error {
	if len(db.changelog.collections) == 0 {
		return nil
	}
	return guard(func() error {
		return db.bolt.Update(func(tx *bbolt.Tx) error {
			for _, name := range []string{logBucket, createdBucket} {
				if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// LogAppended returns a channel that is closed when the next record is appended. Take it before ReadLog,
// then wait on it.
func (db *DB) LogAppended() <-chan struct{} {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	return db.changelog.appended
}

func (db *DB) wakeLog() {
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	close(db.changelog.appended)
	db.changelog.appended = make(chan struct{})
}

// ReadLog returns the records after a sequence number, in order and at most limit (1–1000). A damaged one
// is a *store.CorruptError.
func (db *DB) ReadLog(ctx context.Context, after uint64, limit int) ([]LogRecord, error) {
	if limit < 1 || limit > maxLogRead {
		return nil, fmt.Errorf("read log: %w: limit %d", store.ErrInvalid, limit)
	}
	var records []LogRecord
	err := db.view(ctx, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(logBucket))
		if b == nil {
			return fmt.Errorf("%w: the file has no log", store.ErrInvalid)
		}
		cursor := b.Cursor()
		for k, v := cursor.Seek(binary.BigEndian.AppendUint64(nil, after+1)); k != nil && len(records) < limit; k, v = cursor.Next() {
			r, err := logRecordAt(k, v)
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return records, nil
}

// TrimLog removes records. One that is not there is as good as removed.
func (db *DB) TrimLog(ctx context.Context, seqs ...uint64) error {
	if db.readOnly || len(db.changelog.collections) == 0 {
		return fmt.Errorf("trim log: %w: opened without a log", store.ErrInvalid)
	}
	select {
	case db.lead <- struct{}{}:
		defer func() { <-db.lead }()
	case <-ctx.Done():
		return fmt.Errorf("trim log: %w", ctx.Err())
	}
	err := db.update(func(w *writer) error {
		for _, seq := range seqs {
			if err := remove(w.tx, logBucket, binary.BigEndian.AppendUint64(nil, seq)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}

// log appends what a write did, in its own transaction. before may be what Remains gives: nothing stored.
func (w *writer) log(before, after store.Document) error {
	if before.UpdatedAt.IsZero() {
		before = store.Document{}
	}
	ref, at := after.Ref, after.UpdatedAt
	if after.Generation == 0 {
		ref, at = before.Ref, w.tick()
	}
	if !w.logged[ref.Collection] {
		return nil
	}
	created, err := w.created(ref, before, at)
	if err != nil {
		return err
	}
	last, err := get(w.tx, metaBucket, []byte(logKey))
	if err != nil {
		return err
	}
	var seq uint64
	switch len(last) {
	case 0:
	case 8:
		seq = binary.BigEndian.Uint64(last)
	default:
		return corruptAt(metaBucket, []byte(logKey), errRecord)
	}
	key := binary.BigEndian.AppendUint64(nil, seq+1)
	if err := put(w.tx, metaBucket, []byte(logKey), key); err != nil {
		return err
	}
	w.appended = true
	return put(w.tx, logBucket, key, encodeLogRecord(LogRecord{Ref: ref, Before: before, After: after, Created: created, At: at}))
}

// logRemoval appends that a document was swept, and forgets when it came to be.
func (w *writer) logRemoval(d store.Document) error {
	if !w.logged[d.Ref.Collection] {
		return nil
	}
	if err := w.log(d, store.Document{}); err != nil {
		return err
	}
	return remove(w.tx, createdBucket, []byte(d.Ref.String()))
}

// created returns when a document came to be, which is now if nothing is stored of it.
func (w *writer) created(ref store.Ref, before store.Document, now time.Time) (time.Time, error) {
	key := []byte(ref.String())
	if before.Generation == 0 {
		return now, put(w.tx, createdBucket, key, positionKey(store.Position(now.UnixMicro())))
	}
	payload, err := get(w.tx, createdBucket, key)
	switch {
	case err != nil || payload == nil:
		return time.Time{}, err
	case len(payload) != 8:
		return time.Time{}, corruptAt(createdBucket, key, errRecord)
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(payload))).UTC(), nil // #nosec G115 -- written by positionKey
}

// encodeLogRecord writes a record: commit time and creation as varints, then collection, id and both
// documents, each preceded by its length; a document that is not there has the length 0.
func encodeLogRecord(r LogRecord) []byte {
	var created int64
	if !r.Created.IsZero() {
		created = r.Created.UnixMicro()
	}
	b := binary.AppendVarint(nil, r.At.UnixMicro())
	b = binary.AppendVarint(b, created)
	b = appendString(b, r.Ref.Collection)
	b = appendString(b, r.Ref.ID)
	for _, d := range []store.Document{r.Before, r.After} {
		var record []byte
		if d.Generation > 0 {
			record = encodeRecord(d)
		}
		b = appendString(b, string(record))
	}
	return b
}

// logRecordAt reads the record under a key. It shares no memory with the file.
func logRecordAt(key, sealed []byte) (LogRecord, error) {
	payload, err := unseal(logBucket, key, sealed)
	if err == nil && len(key) != 8 {
		err = errRecord
	}
	if err != nil {
		return LogRecord{}, corruptAt(logBucket, key, err)
	}
	in := reader{rest: bytes.Clone(payload)}
	r := LogRecord{Seq: binary.BigEndian.Uint64(key), At: time.UnixMicro(in.varint()).UTC()}
	if created := in.varint(); created != 0 {
		r.Created = time.UnixMicro(created).UTC()
	}
	r.Ref = store.Ref{Collection: in.string(), ID: in.string()}
	for _, d := range []*store.Document{&r.Before, &r.After} {
		record := in.string()
		if in.failed {
			return LogRecord{}, corruptAt(logBucket, key, errRecord)
		}
		if record == "" {
			continue
		}
		if *d, err = decodeRecord(r.Ref, []byte(record)); err != nil {
			return LogRecord{}, corruptAt(logBucket, key, err)
		}
	}
	if r.Before.Generation == 0 && r.After.Generation == 0 || len(in.rest) > 0 {
		return LogRecord{}, corruptAt(logBucket, key, errors.New("a change of nothing"))
	}
	return r, nil
}

// changelog checks that every record of the log can be read.
func (c *check) changelog() error {
	if c.tx.Bucket([]byte(logBucket)) == nil {
		return nil
	}
	err := c.each(logBucket, func(k, payload []byte) error {
		if _, err := logRecordAt(k, seal(logBucket, k, payload)); err != nil {
			return c.fault(err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(createdBucket, func(_, _ []byte) error { return nil })
}
