package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

func testJournal(t *testing.T, f *fixture) {
	a := ref(store.Services, "a")
	commit := func(actor, cause string, w store.Write) store.Document {
		t.Helper()
		docs, err := f.Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: actor, Cause: cause})
		if err != nil {
			t.Fatal(err)
		}
		return docs[0]
	}
	first := commit("isectech-admin", "request-1", store.Write{Ref: a, Data: object{"n": 1}})
	f.clock.Advance(time.Second)
	second := commit("isectech-frontend", "request-2", store.Write{Ref: a, Data: object{"n": 2}, ExpiresAt: f.clock.Now().Add(time.Hour)})
	f.clock.Advance(time.Hour)
	third := commit("isectech-frontend", "request-3", store.Write{Ref: a, Data: object{"n": 2}}) // expired: made anew
	fourth := commit("operator:x@isectech.com", "request-4", store.Write{Ref: a})
	f.set(t, ref(store.Services, "a-b"), object{}) // beside a in the order of keys
	f.set(t, ref(store.Services, "aa"), object{})
	f.set(t, ref(store.Leases, "a"), object{}) // not journaled

	got, err := store.Entries(t.Context(), f, a.String(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 {
		t.Fatalf("%d entries; want 4", len(got))
	}
	at := Start.Add(time.Second + time.Hour)
	want := []store.Entry{
		{Sequence: 1, Op: store.OpCreate, Actor: "isectech-admin", Cause: "request-1", At: Start, After: store.Digest(first), Hash: first.Head},
		{Sequence: 2, Op: store.OpUpdate, Actor: "isectech-frontend", Cause: "request-2", At: Start.Add(time.Second), Expiry: at,
			Before: store.Digest(first), After: store.Digest(second), Prev: first.Head, Hash: second.Head},
		{Sequence: 3, Op: store.OpCreate, Actor: "isectech-frontend", Cause: "request-3", At: at, After: store.Digest(third), Prev: second.Head, Hash: third.Head},
		{Sequence: 4, Op: store.OpDelete, Actor: "operator:x@isectech.com", Cause: "request-4", At: at, Before: store.Digest(third), Prev: third.Head, Hash: fourth.Head},
	}
	for i := range want {
		want[i].Object = "services/a"
		want[i].ID, want[i].Commit = got[i].ID, got[i].Commit
		if got[i].Commit == "" || i > 0 && got[i].Commit == got[i-1].Commit {
			t.Errorf("commit %q of entry %d", got[i].Commit, i)
		}
	}
	wantEqual(t, "entries", want, got)
	part, err := store.Entries(t.Context(), f, a.String(), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "entries after 1, at most 2", want[1:3], part)
	last, err := store.LastEntry(t.Context(), f, a.String())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "last entry", want[3], last)
	if _, err := store.LastEntry(t.Context(), f, "services/nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("last entry of nobody: %v", err)
	}
	report := f.verify(t)
	if report.Objects != 3 || report.Entries != 6 {
		t.Errorf("%d objects, %d entries; want 3 and 6", report.Objects, report.Entries)
	}
}

func testOnce(t *testing.T, f *fixture) {
	a, b := ref(store.Services, "a"), ref(store.Services, "b")
	once := func(key string, writes ...store.Write) error {
		_, err := f.Commit(t.Context(), store.Batch{Writes: writes, Actor: "isectech-register", Cause: "event-1", Once: key})
		return err
	}
	if err := once("key-1", store.Write{Ref: a, Data: object{"n": 1}}, store.Write{Ref: b, Data: object{"n": 1}}); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]store.Write{
		"the same":         {Ref: a, Data: object{"n": 1}},
		"something else":   {Ref: a, Data: object{"n": 2}},
		"another document": {Ref: ref(store.Services, "c"), Data: object{}},
		"second document":  {Ref: b, Data: object{"n": 2}},
		"stale":            {Ref: a, Data: object{}, If: store.Absent()},
		"deletion":         {Ref: a},
	} {
		if err := once("key-1", w); !errors.Is(err, store.ErrDuplicate) {
			t.Errorf("%s with a used key: %v; want ErrDuplicate", name, err)
		}
	}
	if err := once("key-2", store.Write{Ref: a, Data: object{}, If: store.AtGeneration(9)}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("conflict: %v", err)
	}
	if err := once("key-2", store.Write{Ref: a, Data: object{}}); err != nil {
		t.Errorf("a key whose first batch failed: %v", err)
	}
	if g := f.get(t, a).Generation; g != 2 {
		t.Errorf("generation %d; want 2", g)
	}
	f.verify(t)
}

func testOnceRace(t *testing.T, f *fixture) {
	const n = 12
	errs := parallel(t.Context(), n, func(ctx context.Context, i int) error {
		_, err := f.Commit(ctx, store.Batch{
			Writes: []store.Write{{Ref: ref(store.Services, fmt.Sprint(i)), Data: object{}}, {Ref: ref(store.Services, "shared"), Data: object{"i": i}}},
			Actor:  "isectech-register", Cause: "event-1", Once: "key",
		})
		return err
	})
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, store.ErrDuplicate) {
			t.Error(err)
		}
	}
	if got := len(f.all(t, store.Query{Collection: store.Services})); won != 1 || got != 2 {
		t.Errorf("%d batches won, %d documents; want 1 and 2", won, got)
	}
	f.verify(t)
}

// testOnceWithoutEffect repeats a batch that found nothing to do: what is there by then must not be hit.
func testOnceWithoutEffect(t *testing.T, f *fixture) {
	a := ref(store.Services, "a")
	b := store.Batch{Writes: []store.Write{{Ref: a}, {Ref: ref(store.Leases, "a"), Data: object{}}},
		Actor: "isectech-register", Cause: "event-1", Once: "key"}
	if _, err := f.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	f.set(t, a, object{})
	if _, err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("again: %v; want ErrDuplicate", err)
	}
	f.get(t, a)
	f.verify(t)
}

func testJournalConcurrency(t *testing.T, f *fixture) {
	const writers, writes = 8, 6
	errs := parallel(t.Context(), writers, func(ctx context.Context, w int) error {
		for i := range writes {
			ws := []store.Write{
				{Ref: ref(store.Services, "shared"), Data: object{"w": w, "i": i}},
				{Ref: ref(store.Health, fmt.Sprint(w)), Data: object{"i": i}},
			}
			if i%3 == 2 {
				ws[0].Data = nil
			}
			if _, err := f.Commit(ctx, batch(ws...)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	report := f.verify(t)
	if report.Objects != writers+1 {
		t.Errorf("%d objects; want %d", report.Objects, writers+1)
	}
}

func testVerifyWhileWriting(t *testing.T, f *fixture) {
	ctx, stop := context.WithCancel(t.Context())
	finished := make(chan []error, 1)
	started := make(chan struct{}, 1000)
	go func() {
		finished <- parallel(ctx, 4, func(ctx context.Context, w int) error {
			for i := 0; ctx.Err() == nil; i++ {
				write := store.Write{Ref: ref(store.Services, fmt.Sprint((w+i)%6)), Data: object{"i": i}}
				if i%4 == 3 {
					write.Data = nil
				}
				if _, err := f.Commit(ctx, batch(write)); err != nil && ctx.Err() == nil {
					return err
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
			return nil
		})
	}()
	for range 5 {
		<-started
		f.verify(t)
	}
	stop()
	if err := errors.Join(<-finished...); err != nil {
		t.Error(err)
	}
	f.verify(t)
}

// testOccurredAt wants the journal to keep when a late batch was asked for.
func testOccurredAt(t *testing.T, f *fixture) {
	asked := Start.Add(-time.Hour)
	doc := ref(store.Services, "a")
	for _, at := range []time.Time{asked, {}} {
		_, err := f.Commit(t.Context(), store.Batch{
			Writes: []store.Write{{Ref: doc, Data: object{"n": 1}}}, Actor: "isectech-admin", Cause: "event", OccurredAt: at,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := store.Entries(t.Context(), f, doc.String(), 0, 10)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	if !got[0].OccurredAt().Equal(asked) || !got[1].OccurredAt().Equal(Start) {
		t.Errorf("occurred at %s and %s; want %s and %s", got[0].OccurredAt(), got[1].OccurredAt(), asked, Start)
	}
	report, err := store.Verify(t.Context(), f, f.clock.Now())
	if err != nil || !report.Clean() {
		t.Errorf("journal: %v %v", report.Faults, err)
	}
}
