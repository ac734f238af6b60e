package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// samples is about how many places of a file are damaged, one at a time; LONG makes it thorough.
var samples = func() int {
	if os.Getenv("LONG") != "" {
		return 10_000
	}
	return 100
}()

// filled makes a file with documents in every collection and returns its content and all that it holds.
func filled(t *testing.T) (content []byte, all string) {
	t.Helper()
	clock := new(storetest.Clock)
	path := filepath.Join(t.TempDir(), "store.db")
	db, err := boltstore.Open(path, boltstore.Options{Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 12 {
		var writes []store.Write
		for _, c := range store.Collections() {
			if c != store.Journal {
				writes = append(writes, store.Write{
					Ref:       store.Ref{Collection: c, ID: fmt.Sprintf("id-%02d", n%10)},
					Data:      map[string]any{"content": fmt.Sprintf("content-of-%s-%02d", c, n), "n": n},
					ExpiresAt: clock.Now().Add(time.Hour),
				})
			}
		}
		if n%7 == 3 {
			writes[0].Data, writes[0].ExpiresAt = nil, time.Time{}
		}
		b := store.Batch{Writes: writes, Actor: "operator:damage@isectech.com", Cause: fmt.Sprintf("cause-%02d", n), Once: fmt.Sprint(n)}
		if _, err := db.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	all, err = dump(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return content, all
}

// dump reads everything there is, as text.
func dump(ctx context.Context, s store.Store) (string, error) {
	var b strings.Builder
	for _, c := range store.Collections() {
		for d, err := range s.Changes(ctx, c, 0) {
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s %d %v %s %v %v %s %s\n", d.Ref, d.Generation, d.UpdatedAt, d.UpdatedBy, d.ExpiresAt, d.Deleted, d.Head, d.Data)
		}
		q := store.Query{Collection: c, Limit: 500}
		page, err := s.Query(ctx, q)
		if err != nil {
			return "", err
		}
		for _, d := range page.Documents {
			got, err := s.Get(ctx, d.Ref)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s %d\n", got.Ref, got.Generation)
		}
	}
	return b.String(), nil
}

// inspect opens a changed file and returns its faults; what it holds is "" if that could not be read.
func inspect(t *testing.T, content []byte, readOnly bool) (faults []store.Fault, all string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	clock := new(storetest.Clock)
	db, err := boltstore.Open(path, boltstore.Options{Now: clock.Now, ReadOnly: readOnly})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = db.Close() }()
	report, err := store.Verify(t.Context(), db, clock.Now())
	if err != nil {
		return nil, "", err
	}
	all, _ = dump(t.Context(), db)
	if !readOnly {
		// Writing to a damaged file may fail and must not crash.
		_, err := db.Commit(t.Context(), store.Batch{Actor: "a", Cause: "c", Writes: []store.Write{
			{Ref: store.Ref{Collection: store.Services, ID: "id-01"}, Data: map[string]any{}},
			{Ref: store.Ref{Collection: store.Services, ID: "new"}, Data: map[string]any{}},
		}})
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("commit: %v", err)
		}
	}
	return report.Faults, all, nil
}

// TestOneByteAnywhere changes one byte at a time all over the file: either it is noticed, or it changed
// nothing that can be read. It never crashes.
func TestOneByteAnywhere(t *testing.T) {
	t.Parallel()
	content, want := filled(t)
	stride := len(content)/samples + 1
	unnoticed := 0
	for i, at := 0, rand.IntN(stride); at < len(content); i, at = i+1, at+1+rand.IntN(2*stride) {
		changed := bytes.Clone(content)
		changed[at] ^= byte(1 + rand.IntN(255))
		faults, all, err := inspect(t, changed, i%2 == 0)
		switch {
		case err != nil && !errors.Is(err, store.ErrCorrupt):
			t.Errorf("byte %d, %#x for %#x: %v is not ErrCorrupt", at, changed[at], content[at], err)
		case err == nil && len(faults) == 0:
			if unnoticed++; all != want {
				t.Errorf("byte %d, %#x for %#x: unnoticed, and what is read has changed", at, changed[at], content[at])
			}
		}
	}
	t.Logf("%d changes hit nothing", unnoticed)
}

// TestHeadersAnywhere changes every byte of pages' headers and elements, where bbolt trusts most.
func TestHeadersAnywhere(t *testing.T) {
	t.Parallel()
	content, want := filled(t)
	page := os.Getpagesize()
	step := 96*len(content)/page/samples + 1
	for start := 0; start < len(content); start += page {
		for at := start + rand.IntN(step); at < start+96; at += 1 + rand.IntN(2*step) {
			changed := bytes.Clone(content)
			changed[at] ^= 1 << rand.IntN(8)
			faults, all, err := inspect(t, changed, true)
			if err != nil && !errors.Is(err, store.ErrCorrupt) || err == nil && len(faults) == 0 && all != want {
				t.Errorf("page %d, byte %d, %#x for %#x: %v", start/page, at-start, changed[at], content[at], err)
			}
		}
	}
}

// TestOneByteOfAValue changes bytes of data and of entries: the report names the document, or the entry.
func TestOneByteOfAValue(t *testing.T) {
	t.Parallel()
	content, _ := filled(t)
	for _, tt := range []struct{ text, object string }{
		{"content-of-services-11", "services/id-01"},
		{"content-of-leases-09", "leases/id-09"}, // not journaled
		{"content-of-nonces-08", "nonces/id-08"},
		{"content-of-policies-10", "policies/id-00"},
	} {
		at := bytes.Index(content, []byte(tt.text))
		if at < 0 || bytes.Count(content, []byte(tt.text)) != 1 {
			t.Fatalf("%s is not in the file once", tt.text)
		}
		changed := bytes.Clone(content)
		changed[at+rand.IntN(len(tt.text))] ^= 1
		faults, _, err := inspect(t, changed, true)
		if err != nil || len(faults) == 0 || faults[0].Object != tt.object {
			t.Errorf("%s: %v, %v; want a fault of %s", tt.text, faults, err, tt.object)
		}
	}
	for _, text := range []string{`"cause":"cause-00"`, `"object":"services/id-03"`, `"op":"delete"`, `"prev":"`} {
		for offset := 0; ; {
			next := bytes.Index(content[offset:], []byte(text))
			if next < 0 {
				break
			}
			offset += next + 1
			if rand.IntN(max(1, 3000/samples)) > 0 {
				continue
			}
			changed := bytes.Clone(content)
			changed[offset+rand.IntN(len(text)-2)] ^= 1
			faults, _, err := inspect(t, changed, true)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			named := false
			for _, f := range faults {
				named = named || f.Entry != "" && bytes.Contains(content, []byte(f.Entry))
			}
			if !named {
				t.Errorf("%s at %d: no entry named in %v", text, offset, faults)
			}
		}
	}
}

// TestCutOff opens files that end too early.
func TestCutOff(t *testing.T) {
	t.Parallel()
	content, _ := filled(t)
	for _, size := range []int{1, 100, 4095, 4096, 8192, 16384, len(content) / 2, len(content) - 4096, len(content) - 1} {
		if _, _, err := inspect(t, content[:size], size%2 == 0); err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%d bytes: %v is not ErrCorrupt", size, err)
		} else if err == nil && size < len(content)-4096 {
			t.Errorf("%d of %d bytes open", size, len(content))
		}
	}
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	if _, _, err := inspect(t, noise, false); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("noise: %v", err)
	}
}

// TestTrustedPages damages what bbolt would follow into memory it does not have, or round in circles.
func TestTrustedPages(t *testing.T) {
	t.Parallel()
	content, _ := filled(t)
	page := os.Getpagesize()
	const branch, freelist = 0x01, 0x10
	damage := map[string]struct {
		kind  uint16
		apply func(b []byte, id uint64)
	}{
		"a list of free pages without end": {freelist, func(b []byte, _ uint64) {
			binary.NativeEndian.PutUint16(b[10:], 0xFFFF)
			binary.NativeEndian.PutUint64(b[16:], 1<<38)
		}},
		"a free page that is used": {freelist, func(b []byte, id uint64) {
			binary.NativeEndian.PutUint16(b[10:], 1)
			binary.NativeEndian.PutUint64(b[16:], id)
		}},
		"a branch that is its own child": {branch, func(b []byte, id uint64) {
			binary.NativeEndian.PutUint64(b[16+8:], id)
		}},
		"a child beyond the file": {branch, func(b []byte, _ uint64) {
			binary.NativeEndian.PutUint64(b[16+8:], 1<<50)
		}},
		"a page that overflows the file": {branch, func(b []byte, _ uint64) {
			binary.NativeEndian.PutUint32(b[12:], 1<<31)
		}},
	}
	for name, d := range damage {
		hit := false
		changed := bytes.Clone(content)
		for start := 2 * page; start < len(content); start += page {
			if binary.NativeEndian.Uint16(content[start+8:]) == d.kind { // one of them is in use
				hit = true
				d.apply(changed[start:], uint64(start/page)) // #nosec G115 -- a page's number
			}
		}
		for _, readOnly := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "store.db")
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := boltstore.Open(path, boltstore.Options{Now: new(storetest.Clock).Now, ReadOnly: readOnly})
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("%s, read-only %v: %v; want ErrCorrupt", name, readOnly, err)
			}
			if err == nil {
				_ = db.Close()
			}
		}
		if !hit {
			t.Errorf("%s: no such page", name)
		}
	}
}
