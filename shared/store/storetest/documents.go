package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

func testGenerations(t *testing.T, f *fixture) {
	a := ref(store.Services, "a")
	if _, err := f.Get(t.Context(), a); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	var last store.Document
	for want := int64(1); want <= 4; want++ {
		d := f.set(t, a, object{"n": want})
		if d.Generation != want {
			t.Errorf("generation %d; want %d", d.Generation, want)
		}
		if d.UpdatedAt.Before(last.UpdatedAt) || d.UpdatedAt.IsZero() {
			t.Errorf("updated at %v after %v", d.UpdatedAt, last.UpdatedAt)
		}
		if d.UpdatedAt.Location() != time.UTC || d.UpdatedAt.Nanosecond()%1000 != 0 {
			t.Errorf("updated at %v: not UTC in microseconds", d.UpdatedAt)
		}
		if d.UpdatedBy != "operator:test@isectech.com" || d.Head == "" || d.Head == last.Head {
			t.Errorf("updated by %q, head %q", d.UpdatedBy, d.Head)
		}
		wantEqual(t, "document read after commit", d, f.get(t, a))
		last = d
	}
	gone := f.write(t, store.Write{Ref: a})
	if gone.Generation != 5 || !gone.Deleted || gone.Data != nil || !gone.ExpiresAt.IsZero() {
		t.Errorf("deletion gave %+v", gone)
	}
	if d := f.set(t, a, object{"n": 6}); d.Generation != 6 {
		t.Errorf("generation %d after deletion; want 6", d.Generation)
	}
	if d := f.set(t, ref(store.Leases, "a"), object{}); d.Generation != 1 || d.Head != "" {
		t.Errorf("lease: generation %d, head %q; leases are not journaled", d.Generation, d.Head)
	}
	f.verify(t)
}

func testPreconditions(t *testing.T, f *fixture) {
	live, deleted, expired, never := ref(store.Services, "live"), ref(store.Services, "deleted"),
		ref(store.Services, "expired"), ref(store.Services, "never")
	f.set(t, live, object{})
	f.set(t, live, object{}) // generation 2
	f.set(t, deleted, object{})
	f.write(t, store.Write{Ref: deleted}) // generation 2
	f.write(t, store.Write{Ref: expired, Data: object{}, ExpiresAt: f.clock.Now().Add(time.Minute)})
	f.clock.Advance(time.Minute)

	refused := []struct {
		ref  store.Ref
		cond store.Precondition
		gen  int64
	}{
		{live, store.Absent(), 2},
		{live, store.AbsentSince(2), 2},
		{deleted, store.AbsentSince(1), 0},
		{deleted, store.AbsentSince(0), 0},
		{never, store.AbsentSince(1), 0},
		{live, store.AtGeneration(1), 2},
		{live, store.AtGeneration(3), 2},
		{deleted, store.AtGeneration(2), 0},
		{expired, store.AtGeneration(1), 0},
		{never, store.AtGeneration(1), 0},
	}
	for _, tt := range refused {
		for _, data := range []any{object{"x": 1}, nil} {
			_, err := f.Commit(t.Context(), batch(store.Write{Ref: tt.ref, Data: data, If: tt.cond}))
			var conflict *store.ConflictError
			if !errors.As(err, &conflict) || !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s %+v: %v; want a conflict", tt.ref, tt.cond, err)
				continue
			}
			wantEqual(t, "conflict", store.ConflictError{Ref: tt.ref, Generation: tt.gen}, *conflict)
		}
	}
	accepted := []struct {
		ref  store.Ref
		cond store.Precondition
		gen  int64
	}{
		{live, store.AtGeneration(2), 3},
		{deleted, store.AbsentSince(2), 3},
		{expired, store.Absent(), 2},
		{never, store.AbsentSince(0), 1},
	}
	for _, tt := range accepted {
		if d := f.write(t, store.Write{Ref: tt.ref, Data: object{}, If: tt.cond}); d.Generation != tt.gen {
			t.Errorf("%s: generation %d; want %d", tt.ref, d.Generation, tt.gen)
		}
	}
	f.verify(t)
}

func testAtomicity(t *testing.T, f *fixture) {
	a, b, c := ref(store.Services, "a"), ref(store.Leases, "b"), ref(store.Services, "c")
	first := f.set(t, a, object{"n": 1})
	f.set(t, c, object{"n": 1})
	entries := len(f.all(t, store.Query{Collection: store.Journal}))

	_, err := f.Commit(t.Context(), batch(
		store.Write{Ref: a, Data: object{"n": 2}},
		store.Write{Ref: b, Data: object{"n": 2}},
		store.Write{Ref: c, Data: object{"n": 2}, If: store.AtGeneration(7)},
		store.Write{Ref: ref(store.Services, "d"), Data: object{}, If: store.AtGeneration(1)},
	))
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.Ref != c {
		t.Fatalf("%v; want a conflict of %s", err, c)
	}
	wantEqual(t, "a after a batch that failed", first, f.get(t, a))
	if _, err := f.Get(t.Context(), b); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("b after a batch that failed: %v", err)
	}
	if got := len(f.all(t, store.Query{Collection: store.Journal})); got != entries {
		t.Errorf("%d journal entries after a batch that failed; want %d", got, entries)
	}

	docs, err := f.Commit(t.Context(), batch(
		store.Write{Ref: c, Data: object{"n": 3}},
		store.Write{Ref: ref(store.Services, "nobody")},
		store.Write{Ref: b, Data: object{"n": 3}},
		store.Write{Ref: a},
	))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []store.Document{
		{Ref: c, Generation: 2}, {}, {Ref: b, Generation: 1}, {Ref: a, Generation: 2, Deleted: true},
	} {
		got := store.Document{Ref: docs[i].Ref, Generation: docs[i].Generation, Deleted: docs[i].Deleted}
		wantEqual(t, "document in the order of the writes", want, got)
	}
	f.verify(t)
}

func testInvalid(t *testing.T, f *fixture) {
	ok := store.Write{Ref: ref(store.Services, "a"), Data: object{}}
	with := func(change func(*store.Write)) store.Batch {
		w := ok
		change(&w)
		return batch(w)
	}
	many := make([]store.Write, 101)
	for i := range many {
		many[i] = store.Write{Ref: ref(store.Leases, strings.Repeat("a", i+1)), Data: object{}}
	}
	batches := map[string]store.Batch{
		"no writes":        batch(),
		"too many writes":  batch(many...),
		"no actor":         {Writes: []store.Write{ok}, Cause: "test"},
		"no cause":         {Writes: []store.Write{ok}, Actor: "test"},
		"twice":            batch(ok, ok),
		"journal":          with(func(w *store.Write) { w.Ref.Collection = store.Journal }),
		"collection":       with(func(w *store.Write) { w.Ref.Collection = "nowhere" }),
		"no id":            with(func(w *store.Write) { w.Ref.ID = "" }),
		"id":               with(func(w *store.Write) { w.Ref.ID = "a/b" }),
		"array":            with(func(w *store.Write) { w.Data = []int{1} }),
		"null":             with(func(w *store.Write) { w.Data = (*int)(nil) }),
		"reserved name":    with(func(w *store.Write) { w.Data = object{"generation": 1} }),
		"invalid UTF-8":    with(func(w *store.Write) { w.Data = object{"a": "\xff"} }),
		"too large":        with(func(w *store.Write) { w.Data = object{"a": strings.Repeat("a", 900<<10)} }),
		"arrays in arrays": with(func(w *store.Write) { w.Data = object{"a": [][]int{{1}}} }),
		"unmarshalable":    with(func(w *store.Write) { w.Data = object{"a": make(chan int)} }),
		"expiring nothing": with(func(w *store.Write) { w.Data, w.ExpiresAt = nil, Start }),
		"once, unjournaled": {Writes: []store.Write{{Ref: ref(store.Leases, "a"), Data: object{}}},
			Actor: "test", Cause: "test", Once: "x"},
	}
	for name, b := range batches {
		if _, err := f.Commit(t.Context(), b); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v; want ErrInvalid", name, err)
		}
	}
	for _, id := range []string{"", ".", "..", "__x__", "a/b", "a b", "ä", strings.Repeat("a", 513)} {
		if _, err := f.Get(t.Context(), ref(store.Services, id)); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("get of id %q: %v; want ErrInvalid", id, err)
		}
	}
	if _, err := f.GetAll(t.Context(), make([]store.Ref, 501)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("get of 501: %v; want ErrInvalid", err)
	}
	for _, since := range []store.Position{-1} {
		for _, err := range f.Changes(t.Context(), store.Services, since) {
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("changes since %d: %v; want ErrInvalid", since, err)
			}
		}
	}
}

func testCancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := ref(store.Services, "a")
	calls := map[string]func() error{
		"get":     func() error { _, err := f.Get(ctx, a); return err },
		"get all": func() error { _, err := f.GetAll(ctx, []store.Ref{a}); return err },
		"query":   func() error { _, err := f.Query(ctx, store.Query{Collection: store.Services}); return err },
		"commit":  func() error { _, err := f.Commit(ctx, batch(store.Write{Ref: a, Data: object{}})); return err },
		"changes": func() (last error) {
			for _, err := range f.Changes(ctx, store.Services, 0) {
				last = err
			}
			return last
		},
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v; want context.Canceled", name, err)
		}
	}
	if _, err := f.Get(t.Context(), a); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a cancelled commit has written: %v", err)
	}
}

func testExpiry(t *testing.T, f *fixture) {
	for _, collection := range []string{store.Services, store.Nonces} {
		a := ref(collection, "a")
		until := f.clock.Now().Add(time.Hour)
		d := f.write(t, store.Write{Ref: a, Data: object{"name": "a"}, ExpiresAt: until.Add(999 * time.Nanosecond)})
		if !d.ExpiresAt.Equal(until) {
			t.Errorf("expires at %v; want whole microseconds, %v", d.ExpiresAt, until)
		}
		f.clock.Advance(time.Hour - time.Microsecond)
		wantEqual(t, "document before its expiry", d, f.get(t, a))
		if got := f.all(t, store.Query{Collection: collection}); len(got) != 1 {
			t.Errorf("%s: %d documents before expiry", collection, len(got))
		}
		f.clock.Advance(time.Microsecond)
		if _, err := f.Get(t.Context(), a); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: get after expiry: %v", collection, err)
		}
		for _, q := range []store.Query{
			{Collection: collection},
			{Collection: collection, OrderBy: "name"},
			{Collection: collection, Where: []store.Filter{{Field: "name", Op: store.Eq, Value: "a"}}},
		} {
			if got := f.all(t, q); len(got) != 0 {
				t.Errorf("%+v: %d documents after expiry", q, len(got))
			}
		}
		got, err := f.GetAll(t.Context(), []store.Ref{a})
		if err != nil || got[0].Generation != 0 {
			t.Errorf("%s: get all after expiry: %v %v", collection, got, err)
		}
		if d := f.write(t, store.Write{Ref: a}); d.Generation != 0 {
			t.Errorf("%s: deletion of what has expired wrote %+v", collection, d)
		}
		if collection == store.Nonces {
			continue // may have been removed and begin anew
		}
		if d := f.write(t, store.Write{Ref: a, Data: object{}, If: store.Absent()}); d.Generation != 2 {
			t.Errorf("%s: generation %d after expiry; want 2", collection, d.Generation)
		}
	}
	f.verify(t)
}

func testTombstones(t *testing.T, f *fixture) {
	a := ref(store.Services, "a")
	f.set(t, a, object{"name": "a"})
	gone := f.write(t, store.Write{Ref: a})
	if _, err := f.Get(t.Context(), a); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get after deletion: %v", err)
	}
	if got := f.all(t, store.Query{Collection: store.Services}); len(got) != 0 {
		t.Errorf("query after deletion: %v", got)
	}
	if d := f.write(t, store.Write{Ref: a}); d.Generation != 0 {
		t.Errorf("second deletion wrote %+v", d)
	}
	wantEqual(t, "feed after deletion", []store.Document{gone}, f.feed(t, store.Services, 0))
	f.clock.Advance(23 * time.Hour)
	f.set(t, ref(store.Services, "b"), object{}) // whatever a commit sweeps, it must not be this
	wantEqual(t, "feed after 23 hours", []string{"a", "b"}, ids(f.feed(t, store.Services, 0)))
	f.clock.Advance(48 * time.Hour)
	f.set(t, ref(store.Services, "c"), object{})
	if d := f.write(t, store.Write{Ref: a, Data: object{}, If: store.Absent()}); d.Generation != 3 {
		t.Errorf("generation %d long after deletion; want 3", d.Generation)
	}
	f.verify(t)
}

func testGetAll(t *testing.T, f *fixture) {
	var refs []store.Ref
	var want []store.Document
	for _, id := range []string{"z", "missing", "a", "m", "z"} {
		r := ref(store.Services, id)
		refs = append(refs, r)
		switch {
		case id == "missing":
			want = append(want, store.Document{})
		case len(want) == 4:
			want = append(want, want[0])
		default:
			want = append(want, f.set(t, r, object{"id": id}))
		}
	}
	got, err := f.GetAll(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "documents in the order of refs", want, got)
	if got, err := f.GetAll(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("get of none: %v, %v", got, err)
	}
}
