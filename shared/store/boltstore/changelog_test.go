package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/shared/store/storetest"
)

var start = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

func openLogged(t testing.TB, path string, now func() time.Time, collections ...string) *boltstore.DB {
	t.Helper()
	db, err := boltstore.Open(path, boltstore.Options{Now: now, Log: collections})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

func commit(t testing.TB, db *boltstore.DB, writes ...store.Write) []store.Document {
	t.Helper()
	docs, err := db.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: writes})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func readLog(t testing.TB, db *boltstore.DB) []boltstore.LogRecord {
	t.Helper()
	records, err := db.ReadLog(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// TestStoreWithLog holds a logging store to the store's contract.
func TestStoreWithLog(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return openLogged(t, filepath.Join(t.TempDir(), "store.db"), now, store.Services, store.Leases)
	})
}

func TestLogKeepsEveryStep(t *testing.T) {
	t.Parallel()
	now := start
	path := filepath.Join(t.TempDir(), "store.db")
	db := openLogged(t, path, func() time.Time { return now }, store.Services)
	one := store.Ref{Collection: store.Services, ID: "one"}
	first := commit(t, db, store.Write{Ref: one, Data: map[string]any{"n": 1}},
		store.Write{Ref: store.Ref{Collection: store.Leases, ID: "one"}, Data: map[string]any{}})[0]
	now = now.Add(time.Minute)
	second := commit(t, db, store.Write{Ref: one, Data: map[string]any{"n": 2}})[0]
	now = now.Add(time.Minute)
	third := commit(t, db, store.Write{Ref: one})[0]
	now = now.Add(time.Minute)
	if docs := commit(t, db, store.Write{Ref: one}); docs[0].Generation != 0 {
		t.Fatalf("deleted twice: %+v", docs)
	}
	fourth := commit(t, db, store.Write{Ref: one, Data: map[string]any{"n": 4}, ExpiresAt: now.Add(time.Second)})[0]
	now = now.Add(25 * time.Hour)
	if removed, err := db.Sweep(t.Context()); err != nil || removed != 1 {
		t.Fatalf("swept %d, %v; want the expired document", removed, err)
	}
	now = now.Add(time.Minute)
	fifth := commit(t, db, store.Write{Ref: one, Data: map[string]any{"n": 5}})[0]

	records := readLog(t, db)
	none := store.Document{}
	want := []boltstore.LogRecord{
		{Seq: 1, Ref: one, Before: none, After: first, Created: first.UpdatedAt, At: first.UpdatedAt},
		{Seq: 2, Ref: one, Before: first, After: second, Created: first.UpdatedAt, At: second.UpdatedAt},
		{Seq: 3, Ref: one, Before: second, After: third, Created: first.UpdatedAt, At: third.UpdatedAt},
		{Seq: 4, Ref: one, Before: third, After: fourth, Created: first.UpdatedAt, At: fourth.UpdatedAt},
		{Seq: 5, Ref: one, Before: fourth, After: none, Created: first.UpdatedAt, At: start.Add(3*time.Minute + 25*time.Hour)},
		{Seq: 6, Ref: one, Before: none, After: fifth, Created: fifth.UpdatedAt, At: fifth.UpdatedAt},
	}
	if diff := cmp.Diff(want, records); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if !slices.IsSortedFunc(records, func(a, b boltstore.LogRecord) int { return a.At.Compare(b.At) }) {
		t.Error("commit times are not in order")
	}
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLogPagesAndTrims(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	now := func() time.Time { return start }
	db := openLogged(t, path, now, store.Services)
	for i := range 7 {
		commit(t, db, store.Write{Ref: store.Ref{Collection: store.Services, ID: fmt.Sprint(i)}, Data: map[string]any{}})
	}
	seqs := func(records []boltstore.LogRecord) (seqs []uint64) {
		for _, r := range records {
			seqs = append(seqs, r.Seq)
		}
		return seqs
	}
	page, err := db.ReadLog(t.Context(), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{3, 4, 5}, seqs(page)); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	if err := db.TrimLog(t.Context(), 1, 2, 4, 7, 99); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openLogged(t, path, now, store.Services)
	if diff := cmp.Diff([]uint64{3, 5, 6}, seqs(readLog(t, db))); diff != "" {
		t.Errorf("after trimming and opening again (-want +got):\n%s", diff)
	}
	if err := db.TrimLog(t.Context(), 3, 5, 6); err != nil {
		t.Fatal(err)
	}
	commit(t, db, store.Write{Ref: store.Ref{Collection: store.Services, ID: "next"}, Data: map[string]any{}})
	if diff := cmp.Diff([]uint64{8}, seqs(readLog(t, db))); diff != "" {
		t.Errorf("sequence numbers after an empty log (-want +got):\n%s", diff)
	}
}

func TestLogWakes(t *testing.T) {
	t.Parallel()
	db := openLogged(t, filepath.Join(t.TempDir(), "store.db"), func() time.Time { return start }, store.Services)
	appended := db.LogAppended()
	commit(t, db, store.Write{Ref: store.Ref{Collection: store.Leases, ID: "a"}, Data: map[string]any{}})
	select {
	case <-appended:
		t.Error("woken by a collection that is not logged")
	default:
	}
	commit(t, db, store.Write{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{}})
	select {
	case <-appended:
	default:
		t.Error("not woken by an append")
	}
	if db.LogAppended() == appended {
		t.Error("the next append would not wake")
	}
}

// TestLogOfOlderFile begins a log in a file that was made without one.
func TestLogOfOlderFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	now := func() time.Time { return start }
	ref := store.Ref{Collection: store.Services, ID: "old"}
	db := open(t, path, now)
	before := commit(t, db, store.Write{Ref: ref, Data: map[string]any{"n": 1}})[0]
	if _, err := db.ReadLog(t.Context(), 0, 1); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("read without a log: %v", err)
	}
	if err := db.TrimLog(t.Context(), 1); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("trim without a log: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openLogged(t, path, now, store.Services)
	after := commit(t, db, store.Write{Ref: ref, Data: map[string]any{"n": 2}})[0]
	want := []boltstore.LogRecord{{Seq: 1, Ref: ref, Before: before, After: after, At: after.UpdatedAt}}
	if diff := cmp.Diff(want, readLog(t, db)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestLogRefusals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	now := func() time.Time { return start }
	if _, err := boltstore.Open(path, boltstore.Options{Now: now, Log: []string{"none"}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("unknown collection: %v", err)
	}
	db := openLogged(t, path, now, store.Services)
	for _, limit := range []int{-1, 0, 1001} {
		if _, err := db.ReadLog(t.Context(), 0, limit); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	// A batch that is refused leaves no trace.
	_, err := db.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{}},
		{Ref: store.Ref{Collection: store.Services, ID: "b"}, Data: map[string]any{}, If: store.AtGeneration(1)},
	}})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	if records := readLog(t, db); len(records) > 0 {
		t.Errorf("log of a refused batch: %+v", records)
	}
}

// TestLogDamage finds a changed record.
func TestLogDamage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	now := func() time.Time { return start }
	db := openLogged(t, path, now, store.Leases)
	marker := "a-text-that-is-nowhere-else"
	ref := store.Ref{Collection: store.Leases, ID: "a"}
	commit(t, db, store.Write{Ref: ref, Data: map[string]any{"text": marker}})
	commit(t, db, store.Write{Ref: ref, Data: map[string]any{"text": "other"}}) // the marker is in the log alone
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(content, []byte(marker)) {
		t.Fatal("the log does not hold what was overwritten")
	}
	content = bytes.ReplaceAll(content, []byte(marker), []byte("A"+marker[1:]))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db = openLogged(t, path, now, store.Leases)
	if _, err := db.ReadLog(t.Context(), 0, 10); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a damaged record is read: %v", err)
	}
	if err := db.Check(t.Context()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Check: %v", err)
	}
}
