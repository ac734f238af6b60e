package rediscache

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// A record is one JSON object whose spelling is fixed up to the checksum, which is over the generation and
// all that follows:
//
//	{"format":1,"generation":7,"checksum":"0a1b2c3d","id":…,"updated_at_us":…,"updated_by":…,
//	 "expires_at_us":…,"head":…,"data":{…}}
//
// (on one line). The scripts read the generation off it; data is the document's canonical JSON, byte by byte.
const (
	recordStart    = `{"format":1,"generation":`
	recordChecksum = `,"checksum":"`
	recordRest     = `",`
	recordData     = `,"data":`
	checksumDigits = 8

	// Larger documents are not kept: reading many of them at once takes longer than a call may.
	maxRecordData = 64 << 10
)

// envelope is what a record holds beside generation, checksum and data.
type envelope struct {
	ID        string `json:"id"`
	UpdatedAt int64  `json:"updated_at_us"` // microseconds since 1970
	UpdatedBy string `json:"updated_by"`
	ExpiresAt int64  `json:"expires_at_us"` // 0: never
	Head      string `json:"head"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encodeRecord(d store.Document) []byte {
	e := envelope{ID: d.Ref.ID, UpdatedAt: d.UpdatedAt.UnixMicro(), UpdatedBy: d.UpdatedBy, Head: d.Head}
	if !d.ExpiresAt.IsZero() {
		e.ExpiresAt = d.ExpiresAt.UnixMicro()
	}
	beside, err := json.Marshal(e)
	if err != nil {
		return nil // strings and numbers always marshal
	}
	rest := make([]byte, 0, len(beside)+len(recordData)+len(d.Data)+1)
	rest = append(rest, beside[1:len(beside)-1]...)
	rest = append(rest, recordData...)
	rest = append(rest, d.Data...)
	rest = append(rest, '}')
	out := make([]byte, 0, len(rest)+80)
	out = append(out, recordStart...)
	out = strconv.AppendInt(out, d.Generation, 10)
	out = append(out, recordChecksum...)
	out = appendChecksum(out, checksum(d.Generation, rest))
	out = append(out, recordRest...)
	return append(out, rest...)
}

// decodeRecord reads a record; ok is false for anything else.
func decodeRecord(raw []byte) (d store.Document, ok bool) {
	digits, rest, ok := bytes.Cut(raw, []byte(recordChecksum))
	if !ok || !bytes.HasPrefix(digits, []byte(recordStart)) {
		return d, false
	}
	text := string(digits[len(recordStart):])
	generation, err := strconv.ParseInt(text, 10, 64)
	if err != nil || generation < 1 || strconv.FormatInt(generation, 10) != text {
		return d, false
	}
	if len(rest) < checksumDigits || !bytes.HasPrefix(rest[checksumDigits:], []byte(recordRest)) {
		return d, false
	}
	sum, rest := rest[:checksumDigits], rest[checksumDigits+len(recordRest):]
	if !bytes.Equal(sum, appendChecksum(nil, checksum(generation, rest))) {
		return d, false
	}
	// Inside a string the quotes of recordData would be escaped, so its first occurrence is the member.
	beside, data, ok := bytes.Cut(rest, []byte(recordData))
	if !ok || len(data) < 3 || data[0] != '{' || data[len(data)-1] != '}' {
		return d, false
	}
	var e envelope
	object := append(append([]byte{'{'}, beside...), '}')
	if json.Unmarshal(object, &e) != nil || e.UpdatedAt < 0 || e.ExpiresAt < 0 {
		return d, false
	}
	d = store.Document{
		Ref: store.Ref{Collection: store.Services, ID: e.ID}, Generation: generation,
		UpdatedAt: time.UnixMicro(e.UpdatedAt).UTC(), UpdatedBy: e.UpdatedBy, Head: e.Head,
		Data: json.RawMessage(data[: len(data)-1 : len(data)-1]),
	}
	if e.ExpiresAt > 0 {
		d.ExpiresAt = time.UnixMicro(e.ExpiresAt).UTC()
	}
	return d, true
}

func checksum(generation int64, rest []byte) uint32 {
	sum := crc32.Checksum(strconv.AppendInt(nil, generation, 10), castagnoli)
	return crc32.Update(sum, castagnoli, rest)
}

func appendChecksum(out []byte, sum uint32) []byte {
	return hex.AppendEncode(out, binary.BigEndian.AppendUint32(nil, sum))
}
