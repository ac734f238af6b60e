package boltstore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// A record is a document as it lies in the file: flags, then generation, UpdatedAt and ExpiresAt as
// varints, UpdatedBy and Head preceded by their lengths, then the data to the end. Collection and id are
// bucket and key.
const (
	flagDeleted = 1 << iota
	flagExpires
	flagsKnown = flagDeleted | flagExpires
)

var errRecord = errors.New("not a record")

func encodeRecord(d store.Document) []byte {
	var flags byte
	var expires int64
	if d.Deleted {
		flags |= flagDeleted
	}
	if !d.ExpiresAt.IsZero() {
		flags |= flagExpires
		expires = d.ExpiresAt.UnixMicro()
	}
	b := make([]byte, 0, 64+len(d.UpdatedBy)+len(d.Head)+len(d.Data))
	b = append(b, flags)
	b = binary.AppendVarint(b, d.Generation)
	b = binary.AppendVarint(b, d.UpdatedAt.UnixMicro())
	b = binary.AppendVarint(b, expires)
	b = appendString(b, d.UpdatedBy)
	b = appendString(b, d.Head)
	return append(b, d.Data...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeRecord reads a record. The document shares the record's memory if it is only borrowed.
func decodeRecord(ref store.Ref, b []byte) (store.Document, error) {
	r := reader{rest: b}
	flags := r.byte()
	d := store.Document{Ref: ref, Generation: r.varint()}
	d.UpdatedAt = time.UnixMicro(r.varint()).UTC()
	expires := r.varint()
	d.UpdatedBy = r.string()
	d.Head = r.string()
	if r.failed || flags&^flagsKnown != 0 || d.Generation < 1 {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: errRecord}
	}
	if flags&flagExpires != 0 {
		d.ExpiresAt = time.UnixMicro(expires).UTC()
	}
	if d.Deleted = flags&flagDeleted != 0; !d.Deleted {
		d.Data = r.rest
	}
	return d, nil
}

// reader takes a record apart; after a failure it gives zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.failed = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.failed, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) string() string {
	length, n := binary.Uvarint(r.rest)
	if n <= 0 || length > uint64(len(r.rest)-n) { // #nosec G115 -- n is at most len(r.rest)
		r.failed, r.rest = true, nil
		return ""
	}
	end := n + int(length) // #nosec G115 -- not above len(r.rest)
	s := string(r.rest[n:end])
	r.rest = r.rest[end:]
	return s
}
