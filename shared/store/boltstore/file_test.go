package boltstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// childVariable tells the test binary to be the process that is killed.
const childVariable = "BOLTSTORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		os.Exit(commitForEver(path))
	}
	os.Exit(m.Run())
}

// commitForEver commits documents and prints the id of each once it has been acknowledged.
func commitForEver(path string) int {
	db, err := boltstore.Open(path, boltstore.Options{Now: time.Now})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ack := make(chan string)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
				_, err := db.Commit(context.Background(), store.Batch{Actor: "child", Cause: id, Once: id, Writes: []store.Write{
					{Ref: store.Ref{Collection: store.Services, ID: id}, Data: map[string]any{"text": strings.Repeat(id, 50)}, If: store.Absent()},
					{Ref: store.Ref{Collection: store.Services, ID: "shared"}, Data: map[string]any{"by": id}},
					{Ref: store.Ref{Collection: store.Services, ID: "old"}},
				}})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				ack <- id
			}
		}()
	}
	for id := range ack {
		fmt.Println(id)
	}
	return 0
}

// TestKill kills a process that commits, again and again, and finds all that it acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	var acknowledged []string
	for round := range 10 {
		cmd := exec.CommandContext(t.Context(), os.Args[0]) // #nosec G204 -- this binary
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaint strings.Builder
		cmd.Stderr = &complaint
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			acknowledged = append(acknowledged, lines.Text())
			if n == 8+2*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed
		if complaint.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaint.String())
		}
		check(t, path, acknowledged)
	}
	if len(acknowledged) < 100 {
		t.Errorf("only %d commits", len(acknowledged))
	}
}

// check opens the file and looks for every acknowledged commit.
func check(t *testing.T, path string, acknowledged []string) {
	t.Helper()
	db, err := boltstore.Open(path, boltstore.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, id := range acknowledged {
		if _, err := db.Get(t.Context(), store.Ref{Collection: store.Services, ID: id}); err != nil {
			t.Errorf("acknowledged and lost: %v", err)
		}
		_, err := db.Commit(t.Context(), store.Batch{Actor: "test", Cause: "again", Once: id,
			Writes: []store.Write{{Ref: store.Ref{Collection: store.Services, ID: id}}}})
		if !errors.Is(err, store.ErrDuplicate) {
			t.Errorf("%s again: %v; want ErrDuplicate", id, err)
		}
	}
	report, err := store.Verify(t.Context(), db, time.Now())
	if err != nil || !report.Clean() {
		t.Fatalf("after a kill: %v, %v", report.Faults, err)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	clock := new(storetest.Clock)
	open(t, path, clock.Now)
	for _, readOnly := range []bool{false, true} {
		_, err := boltstore.Open(path, boltstore.Options{Now: clock.Now, ReadOnly: readOnly})
		if !errors.Is(err, boltstore.ErrLocked) || !strings.Contains(err.Error(), path) {
			t.Errorf("second open, read-only %v: %v; want ErrLocked naming the file", readOnly, err)
		}
	}
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	clock := new(storetest.Clock)
	for range 2 {
		db, err := boltstore.Open(path, boltstore.Options{Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		set(t, db, "a", 1)
		set(t, db, "a", 2)
		for _, step := range []func() error{func() error { return nil }, db.Close} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		}
		if err := os.Chmod(path, 0o644); err != nil { // #nosec G302 -- to see it mended
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	clock := new(storetest.Clock)
	readOnly := boltstore.Options{Now: clock.Now, ReadOnly: true}
	if _, err := boltstore.Open(path, readOnly); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing to read: %v", err)
	}
	db := open(t, path, clock.Now)
	d := set(t, db, "a", 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path) // #nosec G304 -- the test's own
	if err != nil {
		t.Fatal(err)
	}
	// Several may read at once.
	for range 2 {
		reader, err := boltstore.Open(path, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = reader.Close() })
		if got, err := reader.Get(t.Context(), d.Ref); err != nil || got.Generation != 1 {
			t.Errorf("get: %+v, %v", got, err)
		}
		if _, err := reader.Commit(t.Context(), store.Batch{Actor: "a", Cause: "c", Writes: []store.Write{{Ref: d.Ref}}}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("commit: %v; want ErrInvalid", err)
		}
		if _, err := reader.Sweep(t.Context()); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("sweep: %v; want ErrInvalid", err)
		}
		if report, err := store.Verify(t.Context(), reader, clock.Now()); err != nil || !report.Clean() || report.Entries != 1 {
			t.Errorf("verify: %+v, %v", report, err)
		}
	}
	after, err := os.ReadFile(path) // #nosec G304 -- the test's own
	if err != nil || string(before) != string(after) {
		t.Errorf("reading has changed the file, %v", err)
	}
}

// TestCompaction overwrites much and reopens: the file does not grow for ever, and old content is gone.
func TestCompaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	clock := new(storetest.Clock)
	text := strings.Repeat("x", 100<<10)
	lease := store.Ref{Collection: store.Leases, ID: "a"}
	for round := range 3 {
		db, err := boltstore.Open(path, boltstore.Options{Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			data := map[string]any{"text": text, "old": fmt.Sprintf("round-%d-%d", round, i)}
			if _, err := db.Commit(t.Context(), store.Batch{Actor: "a", Cause: "c", Writes: []store.Write{{Ref: lease, Data: data}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path) // #nosec G304 -- the test's own
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 400<<10 {
		t.Errorf("%d bytes for one document of 100 KiB", len(content))
	}
	if got := strings.Count(string(content), "round-"); got != 1 {
		t.Errorf("%d versions of one document in the file", got)
	}
	db := open(t, path, clock.Now)
	if d, err := db.Get(t.Context(), lease); err != nil || d.Generation != 60 {
		t.Errorf("generation %d, %v", d.Generation, err)
	}
}

// TestClock gives out commit times that grow while the clock stands, goes back, and over restarts.
func TestClock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	clock := new(storetest.Clock)
	var last time.Time
	for round := range 4 {
		db, err := boltstore.Open(path, boltstore.Options{Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			d := set(t, db, strconv.Itoa(i), round)
			if !d.UpdatedAt.After(last) {
				t.Errorf("%v is not after %v", d.UpdatedAt, last)
			}
			last = d.UpdatedAt
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		clock.Advance(-time.Hour)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	clock := new(storetest.Clock)
	db := open(t, filepath.Join(t.TempDir(), "store.db"), clock.Now)
	const n = 1500
	var writes []store.Write
	flush := func() {
		t.Helper()
		if _, err := db.Commit(t.Context(), store.Batch{Actor: "a", Cause: "c", Writes: writes}); err != nil {
			t.Fatal(err)
		}
		writes = nil
	}
	for i := range n {
		writes = append(writes, store.Write{Ref: store.Ref{Collection: store.Nonces, ID: strconv.Itoa(i)}, Data: map[string]any{},
			ExpiresAt: clock.Now().Add(time.Minute)})
		if len(writes) == store.MaxWrites {
			flush()
		}
	}
	kept := set(t, db, "kept", 1)
	set(t, db, "gone", 1)
	writes = []store.Write{
		{Ref: store.Ref{Collection: store.Services, ID: "gone"}},
		{Ref: store.Ref{Collection: store.Leases, ID: "lapsed"}, Data: map[string]any{}, ExpiresAt: clock.Now().Add(time.Minute)},
		{Ref: store.Ref{Collection: store.Nonces, ID: "renewed"}, Data: map[string]any{}, ExpiresAt: clock.Now().Add(time.Minute)},
	}
	flush()
	writes = []store.Write{{Ref: store.Ref{Collection: store.Nonces, ID: "renewed"}, Data: map[string]any{}, ExpiresAt: clock.Now().Add(time.Hour)}}
	flush()
	sweep := func(want int) {
		t.Helper()
		if got, err := db.Sweep(t.Context()); err != nil || got != want {
			t.Errorf("swept %d, %v; want %d", got, err, want)
		}
		if report, err := store.Verify(t.Context(), db, clock.Now()); err != nil || !report.Clean() {
			t.Errorf("after the sweep: %v, %v", report.Faults, err)
		}
	}
	sweep(0)
	clock.Advance(time.Minute)
	sweep(n)
	clock.Advance(24 * time.Hour)
	sweep(3) // gone, lapsed and renewed
	sweep(0)
	if d, err := db.Get(t.Context(), kept.Ref); err != nil || d.Generation != 1 {
		t.Errorf("kept: %v", err)
	}
	if d := set(t, db, "gone", 2); d.Generation != 3 {
		t.Errorf("generation %d after the tombstone has been swept; want 3", d.Generation)
	}
	if report, err := store.Verify(t.Context(), db, clock.Now()); err != nil || !report.Clean() {
		t.Errorf("%v, %v", report.Faults, err)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	clock := new(storetest.Clock)
	db := open(t, filepath.Join(t.TempDir(), "store.db"), clock.Now)
	d := set(t, db, "a", 1)
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Get(t.Context(), d.Ref); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("get: %v", err)
	}
	if _, err := db.Commit(t.Context(), store.Batch{Actor: "a", Cause: "c", Writes: []store.Write{{Ref: d.Ref}}}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
}

func set(t testing.TB, db *boltstore.DB, id string, n int) store.Document {
	t.Helper()
	docs, err := db.Commit(t.Context(), store.Batch{Actor: "a", Cause: "c", Writes: []store.Write{
		{Ref: store.Ref{Collection: store.Services, ID: id}, Data: map[string]any{"n": n}}}})
	if err != nil {
		t.Fatal(err)
	}
	return docs[0]
}
