package store_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// TestJournalFormat pins what is hashed and how: a journal outlives the program that wrote it.
func TestJournalFormat(t *testing.T) {
	t.Parallel()
	d := store.Document{Data: json.RawMessage(`{"a":1}`), ExpiresAt: time.UnixMicro(1)}
	b := store.Batch{
		Writes: []store.Write{{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{"a": 1}, ExpiresAt: time.UnixMicro(1 << 50)}},
		Actor:  "actor", Cause: "cause",
	}
	prepared, err := store.Prepare(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := prepared.Plan(make([]store.Document, 1), time.UnixMicro(1<<50-1), "commit")
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct{ got, want string }{
		"key":    {store.EntryKey("services/a", 12), "services/a/0000000000000000012"},
		"id":     {store.EntryID("services/a", 12), "e-00cc0f8dba5df33e8e50594ce2459922d99671be788ea4e5c8894d6f3f55e02b"},
		"once":   {store.OnceRef("key").String(), "journal/o-2859448fc4617f85a245d4474f030d667e38bcbe5d8296d831b29c643e2a3d07"},
		"digest": {store.Digest(d), "9f4045d9838b777c76cb2ccea318c8a78c8da2b68892925dca95752b8624bd6e"},
		"head":   {out.Documents[0].Head, "35bc04b932d92ed9b801e6c217c2673292c2283b2d6b650555a27eb7d7d9dff1"},
		"entry": {string(out.Journal[0].Data), `{"actor":"actor","after":"f5c629d370688ab2e7a2ed4cab11d05233e6f1687f70b6a92338c211c6bbed65",` +
			`"at":"2005-09-05T05:58:26.842623Z","cause":"cause","commit":"commit","expiry":"2005-09-05T05:58:26.842624Z",` +
			`"hash":"35bc04b932d92ed9b801e6c217c2673292c2283b2d6b650555a27eb7d7d9dff1",` +
			`"id":"e-f51fd4036599293b418bbf398ec249d3ee2cf94d8a05ac980ec8f14d68041b7b",` +
			`"key":"services/a/0000000000000000001","object":"services/a","op":"create","sequence":1}`},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s; want %s", what, tt.got, tt.want)
		}
	}
}

func TestPlanIsPure(t *testing.T) {
	t.Parallel()
	ref := store.Ref{Collection: store.Services, ID: "a"}
	now := time.UnixMicro(1 << 50)
	prepared, err := store.Prepare(store.Batch{Writes: []store.Write{{Ref: ref, Data: map[string]any{}, If: store.Absent()}}, Actor: "a", Cause: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		current    store.Document
		generation int64 // 0: conflict
		prev       string
	}{
		"nothing":   {store.Document{}, 1, ""},
		"live":      {store.Document{Ref: ref, Generation: 3, Head: "h"}, 0, ""},
		"tombstone": {store.Document{Ref: ref, Generation: 3, Head: "h", Deleted: true}, 4, "h"},
		"expired":   {store.Document{Ref: ref, Generation: 3, Head: "h", ExpiresAt: now}, 4, "h"},
		"remains":   {store.Remains(ref, store.Entry{Sequence: 8, Hash: "x"}), 9, "x"},
	} {
		out, err := prepared.Plan([]store.Document{tt.current}, now, "commit")
		if tt.generation == 0 {
			if !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s: %v; want a conflict", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		e, err := store.EntryOf(out.Journal[0])
		if err != nil || e.Prev != tt.prev || e.Sequence != tt.generation || e.Op != store.OpCreate || out.Documents[0].Generation != tt.generation {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// FuzzEntryOf reads entries that may come from anyone who can write to the back end.
func FuzzEntryOf(f *testing.F) {
	f.Add([]byte(`{"id":"e-1","object":"services/a","sequence":1}`))
	f.Add([]byte(`{"at":"0000-01-01T00:00:00Z","expiry":"9999-12-31T23:59:59.999999999Z"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := store.EntryOf(store.Document{Ref: store.Ref{Collection: store.Journal, ID: "e-1"}, Data: data})
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("%q: %v is not ErrCorrupt", data, err)
		}
		if err == nil && e.ID != "e-1" {
			t.Fatalf("%q: read as entry %s", data, e.ID)
		}
	})
}
