package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"time"

	"go.etcd.io/bbolt"

	"github.com/isectech/service-networking/shared/store"
)

// The buckets of the file. Every value in them is sealed.
const (
	metaBucket    = "meta"       // format, clock
	entriesBucket = "entries"    // store.EntryKey → id of the journal document
	dueBucket     = "due"        // when to remove it + ref → nothing
	documents     = "documents/" // + collection: id → record
	feed          = "feed/"      // + collection: position → id
)

const (
	formatKey = "format"
	clockKey  = "clock" // the last position given out
	format    = "1"
)

// buckets are all that a file has, from the first transaction on; so a missing one is damage.
func buckets() []string {
	names := []string{metaBucket, entriesBucket, dueBucket}
	for _, c := range store.Collections() {
		names = append(names, documents+c, feed+c)
	}
	return names
}

var crcTable = crc64.MakeTable(crc64.ECMA)

var errChecksum = errors.New("checksum does not match")

// seal precedes a payload with its checksum.
func seal(bucket string, key, payload []byte) []byte {
	sealed := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint64(sealed, checksum(bucket, key, payload))
	return append(sealed, payload...)
}

// open returns the payload of a sealed value, which lies in the mapped file.
func unseal(bucket string, key, sealed []byte) ([]byte, error) {
	if len(sealed) < 8 || binary.BigEndian.Uint64(sealed) != checksum(bucket, key, sealed[8:]) {
		return nil, errChecksum
	}
	return sealed[8:], nil
}

// checksum covers where a value lies too, so that a changed key is found out like a changed value.
func checksum(bucket string, key, payload []byte) uint64 {
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(key))) // #nosec G115 -- bbolt's keys have at most 32 KiB
	sum := crc64.Update(0, crcTable, []byte(bucket))
	sum = crc64.Update(sum, crcTable, length[:])
	sum = crc64.Update(sum, crcTable, key)
	return crc64.Update(sum, crcTable, payload)
}

// bucket returns a bucket that is there unless the file is damaged.
func bucket(tx *bbolt.Tx, name string) (*bbolt.Bucket, error) {
	b := tx.Bucket([]byte(name))
	if b == nil {
		return nil, &store.CorruptError{Err: fmt.Errorf("bucket %s is missing", name)}
	}
	return b, nil
}

// get returns the payload under a key; nil if there is none.
func get(tx *bbolt.Tx, name string, key []byte) ([]byte, error) {
	b, err := bucket(tx, name)
	if err != nil {
		return nil, err
	}
	sealed := b.Get(key)
	if sealed == nil {
		return nil, nil
	}
	payload, err := unseal(name, key, sealed)
	if err != nil {
		return nil, corruptAt(name, key, err)
	}
	return payload, nil
}

func put(tx *bbolt.Tx, name string, key, payload []byte) error {
	b, err := bucket(tx, name)
	if err != nil {
		return err
	}
	return b.Put(key, seal(name, key, payload))
}

func remove(tx *bbolt.Tx, name string, key []byte) error {
	b, err := bucket(tx, name)
	if err != nil {
		return err
	}
	return b.Delete(key)
}

// corruptAt names the document that a damaged value is, or the place where it lies.
func corruptAt(name string, key []byte, err error) error {
	if collection, ok := bytes.CutPrefix([]byte(name), []byte(documents)); ok {
		return &store.CorruptError{Ref: store.Ref{Collection: string(collection), ID: string(key)}, Err: err}
	}
	return &store.CorruptError{Err: fmt.Errorf("%s %q: %w", name, key, err)}
}

func positionKey(p store.Position) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(p)) // #nosec G115 -- positions are not negative
}

// dueKey orders documents by when they are to be removed; nil for one that stays.
func dueKey(d store.Document) []byte {
	var due time.Time
	switch {
	case d.Deleted:
		due = d.UpdatedAt.Add(retention)
	case d.ExpiresAt.IsZero():
		return nil
	case d.Ref.Collection == store.Nonces:
		due = d.ExpiresAt
	default:
		due = d.ExpiresAt.Add(retention)
	}
	key := binary.BigEndian.AppendUint64(nil, uint64(max(due.UnixMicro(), 0))) // #nosec G115 -- not negative
	return append(key, d.Ref.String()...)
}
