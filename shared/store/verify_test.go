package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// tampered is a store in whose back end somebody has changed documents: edit changes what it reads, and
// drops a document by returning false.
type tampered struct {
	store.Store
	edit func(*store.Document) bool
}

func (s tampered) Query(ctx context.Context, q store.Query) (store.Page, error) {
	page, err := s.Store.Query(ctx, q)
	kept := page.Documents[:0]
	for _, d := range page.Documents {
		if s.edit(&d) {
			kept = append(kept, d)
		}
	}
	page.Documents = kept
	return page, err
}

func (s tampered) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for d, err := range s.Store.Changes(ctx, collection, since) {
			if err != nil || s.edit(&d) {
				if !yield(d, err) {
					return
				}
			}
		}
	}
}

// filled returns a store with two objects of three entries, one deleted, one that expires, and a lease.
func filled(t *testing.T) (store.Store, *storetest.Clock) {
	t.Helper()
	clock := new(storetest.Clock)
	s := storetest.New(t, clock.Now)
	write := func(w store.Write) {
		t.Helper()
		if _, err := s.Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: "operator:a@isectech.com", Cause: "test"}); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Second)
	}
	for n := range 3 {
		for _, id := range []string{"a", "b"} {
			write(store.Write{Ref: store.Ref{Collection: store.Services, ID: id}, Data: map[string]any{"n": n}})
		}
	}
	write(store.Write{Ref: store.Ref{Collection: store.Services, ID: "gone"}, Data: map[string]any{}})
	write(store.Write{Ref: store.Ref{Collection: store.Services, ID: "gone"}})
	write(store.Write{Ref: store.Ref{Collection: store.Revocations, ID: "short"}, Data: map[string]any{}, ExpiresAt: clock.Now().Add(time.Hour)})
	write(store.Write{Ref: store.Ref{Collection: store.Leases, ID: "a"}, Data: map[string]any{}})
	return s, clock
}

// editEntry changes one field of an entry, as somebody with write access to the back end would.
func editEntry(object string, sequence int64, change func(map[string]any)) func(*store.Document) bool {
	return func(d *store.Document) bool {
		e, err := store.EntryOf(*d)
		if d.Ref.Collection != store.Journal || err != nil || e.Object != object || e.Sequence != sequence {
			return true
		}
		var fields map[string]any
		if json.Unmarshal(d.Data, &fields) != nil {
			return true
		}
		change(fields)
		d.Data, err = store.Canonical(fields)
		return err == nil
	}
}

func editDocument(id string, change func(*store.Document)) func(*store.Document) bool {
	return func(d *store.Document) bool {
		if d.Ref == (store.Ref{Collection: store.Services, ID: id}) {
			change(d)
		}
		return true
	}
}

func TestVerifyFindsTampering(t *testing.T) {
	t.Parallel()
	type want struct {
		object   string
		sequence int64
		problem  string
	}
	set := func(name string, value any) func(map[string]any) {
		return func(fields map[string]any) { fields[name] = value }
	}
	for name, tt := range map[string]struct {
		edit func(*store.Document) bool
		want want
	}{
		"actor":      {editEntry("services/a", 2, set("actor", "operator:b@isectech.com")), want{"services/a", 2, "hash"}},
		"cause":      {editEntry("services/a", 2, set("cause", "x")), want{"services/a", 2, "hash"}},
		"time":       {editEntry("services/a", 2, set("at", "2026-01-04T11:00:00Z")), want{"services/a", 2, "hash"}},
		"commit":     {editEntry("services/a", 2, set("commit", "x")), want{"services/a", 2, "hash"}},
		"operation":  {editEntry("services/a", 2, set("op", "delete")), want{"services/a", 2, "hash"}},
		"after":      {editEntry("services/a", 2, set("after", strings.Repeat("0", 64))), want{"services/a", 2, "hash"}},
		"previous":   {editEntry("services/a", 2, set("prev", strings.Repeat("0", 64))), want{"services/a", 2, "hash"}},
		"hash":       {editEntry("services/a", 2, set("hash", strings.Repeat("0", 64))), want{"services/a", 2, "hash"}},
		"last hash":  {editEntry("services/a", 3, set("hash", strings.Repeat("0", 64))), want{"services/a", 3, "hash"}},
		"id":         {editEntry("services/a", 2, set("id", "e-1")), want{"services/a", 2, "not the document"}},
		"key":        {editEntry("services/a", 2, set("key", "services/a/0000000000000000009")), want{"services/a", 2, "not the document"}},
		"more":       {editEntry("services/a", 2, set("note", "x")), want{"services/a", 2, "not the document"}},
		"entry type": {editEntry("services/a", 2, set("sequence", "2")), want{"services/a", 2, "entry is damaged"}},
		"sequence":   {editEntry("services/a", 2, set("sequence", 7)), want{"services/a", 2, "entry is damaged"}},
		"entry removed": {func(d *store.Document) bool {
			e, _ := store.EntryOf(*d)
			return e.Object != "services/a" || e.Sequence != 2
		}, want{"services/a", 2, "missing"}},
		"first removed": {func(d *store.Document) bool {
			e, _ := store.EntryOf(*d)
			return e.Object != "services/a" || e.Sequence != 1
		}, want{"services/a", 1, "missing"}},
		"last removed": {func(d *store.Document) bool {
			e, _ := store.EntryOf(*d)
			return e.Object != "services/a" || e.Sequence != 3
		}, want{"services/a", 3, "generation"}},
		"chain removed":    {func(d *store.Document) bool { e, _ := store.EntryOf(*d); return e.Object != "services/a" }, want{"services/a", 3, "no entry"}},
		"data":             {editDocument("a", func(d *store.Document) { d.Data = json.RawMessage(`{"n":9}`) }), want{"services/a", 3, "content"}},
		"expiry":           {editDocument("a", func(d *store.Document) { d.ExpiresAt = storetest.Start.Add(time.Hour) }), want{"services/a", 3, "content"}},
		"generation":       {editDocument("a", func(d *store.Document) { d.Generation = 2 }), want{"services/a", 2, "generation"}},
		"generation ahead": {editDocument("a", func(d *store.Document) { d.Generation = 9 }), want{"services/a", 9, "generation"}},
		"head":             {editDocument("a", func(d *store.Document) { d.Head = "x" }), want{"services/a", 3, "head"}},
		"author":           {editDocument("a", func(d *store.Document) { d.UpdatedBy = "x" }), want{"services/a", 3, "author"}},
		"deleted":          {editDocument("a", func(d *store.Document) { d.Deleted, d.Data = true, nil }), want{"services/a", 3, "content"}},
		"raised":           {editDocument("gone", func(d *store.Document) { d.Deleted, d.Data = false, json.RawMessage(`{}`) }), want{"services/gone", 2, "content"}},
		"document removed": {func(d *store.Document) bool { return d.Ref.String() != "services/a" }, want{"services/a", 3, "document is missing"}},
		"removed early":    {func(d *store.Document) bool { return d.Ref.String() != "revocations/short" }, want{"revocations/short", 1, "document is missing"}},
		"document added": {func(d *store.Document) bool {
			if d.Ref.String() == "services/b" {
				d.Ref.ID = "c"
			}
			return true
		}, want{"services/b", 3, "document is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, clock := filled(t)
			report, err := store.Verify(t.Context(), tampered{s, tt.edit}, clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			if report.Clean() {
				t.Fatal("nothing found")
			}
			found := false
			for _, f := range report.Faults {
				found = found || f.Object == tt.want.object && f.Sequence == tt.want.sequence && strings.Contains(f.Problem, tt.want.problem)
			}
			if !found {
				t.Errorf("%+v not among %v", tt.want, report.Faults)
			}
		})
	}
}

// TestVerifyNamesTheFirstBrokenLink breaks several things: the report begins with the first in the order
// of objects and sequences, and is the same each time.
func TestVerifyNamesTheFirstBrokenLink(t *testing.T) {
	t.Parallel()
	s, clock := filled(t)
	edits := []func(*store.Document) bool{
		editEntry("services/b", 1, func(f map[string]any) { f["actor"] = "x" }),
		editEntry("services/a", 3, func(f map[string]any) { f["actor"] = "x" }),
		editEntry("services/a", 2, func(f map[string]any) { f["actor"] = "x" }),
		editEntry("services/gone", 2, func(f map[string]any) { f["actor"] = "x" }),
	}
	rand.Shuffle(len(edits), func(i, j int) { edits[i], edits[j] = edits[j], edits[i] })
	broken := tampered{s, func(d *store.Document) bool {
		for _, edit := range edits {
			if !edit(d) {
				return false
			}
		}
		return true
	}}
	report, err := store.Verify(t.Context(), broken, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range report.Faults {
		got = append(got, f.Object+" "+f.Problem[:4])
		if f.Entry == "" || f.Expected == "" || f.Got == "" {
			t.Errorf("%+v is not whole", f)
		}
	}
	if diff := cmp.Diff([]string{"services/a hash", "services/a hash", "services/b hash", "services/gone hash"}, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s\n%v", diff, report.Faults)
	}
}

func TestVerifyAllowsExpiryAndRemoval(t *testing.T) {
	t.Parallel()
	s, clock := filled(t)
	gone := tampered{s, func(d *store.Document) bool {
		return d.Ref.String() != "services/gone" && d.Ref.String() != "revocations/short"
	}}
	clock.Advance(48 * time.Hour)
	report, err := store.Verify(t.Context(), gone, clock.Now())
	if err != nil || !report.Clean() {
		t.Errorf("%v, %v", report.Faults, err)
	}
}

// damaged is a store whose back end can't read some documents.
type damaged struct {
	store.Store
	id string
}

func (s damaged) Query(ctx context.Context, q store.Query) (store.Page, error) {
	page, err := s.Store.Query(ctx, q)
	for _, d := range page.Documents {
		if d.Ref.ID == s.id {
			return store.Page{}, &store.CorruptError{Ref: d.Ref, Err: errors.New("unreadable")}
		}
	}
	return page, err
}

func (s damaged) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for d, err := range s.Store.Changes(ctx, collection, since) {
			if d.Ref.ID == s.id {
				d, err = store.Document{}, &store.CorruptError{Ref: d.Ref, Err: errors.New("unreadable")}
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func TestVerifyNamesDamage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		id   string
		want []string
	}{
		"entry": {store.EntryID("services/a", 2), []string{
			"services/a sequence 2 entry " + store.EntryID("services/a", 2) + ` entry is damaged: expected "2", got "3"`}},
		"last entry": {store.EntryID("services/a", 3), []string{
			"services/a sequence 3 entry " + store.EntryID("services/a", 3) + " entry is damaged"}},
		"document": {"a", []string{"services/a sequence 3 entry " + store.EntryID("services/a", 3) + " unreadable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, clock := filled(t)
			report, err := store.Verify(t.Context(), damaged{s, tt.id}, clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range report.Faults {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if report.Objects != 4 {
				t.Errorf("%d objects; want 4", report.Objects)
			}
		})
	}
}

func TestVerifyBoundsItsReport(t *testing.T) {
	t.Parallel()
	clock := new(storetest.Clock)
	s := storetest.New(t, clock.Now)
	for n := range 15 {
		var writes []store.Write
		for range 100 {
			id := strings.Repeat("x", n+1) + strings.Repeat("y", len(writes)+1)
			writes = append(writes, store.Write{Ref: store.Ref{Collection: store.Services, ID: id}, Data: map[string]any{}})
		}
		if _, err := s.Commit(t.Context(), store.Batch{Writes: writes, Actor: "a", Cause: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	report, err := store.Verify(t.Context(), tampered{s, func(d *store.Document) bool { d.UpdatedBy += "x"; return true }}, clock.Now())
	if err != nil || len(report.Faults) != 100 || !report.More {
		t.Errorf("%d faults, more %v, %v", len(report.Faults), report.More, err)
	}
	if first := report.Faults[0].Object; first != "services/xxxxxxxxxxxxxxxy" {
		t.Errorf("the first is %s", first)
	}
}

func TestVerifyUnavailable(t *testing.T) {
	t.Parallel()
	s, clock := filled(t)
	for _, call := range []string{storetest.CallQuery, storetest.CallChanges} {
		faulty := storetest.NewFaulty(s)
		faulty.Fail(call, 1, store.ErrUnavailable)
		if _, err := store.Verify(t.Context(), faulty, clock.Now()); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v; want ErrUnavailable", call, err)
		}
	}
}

// TestVerifyFindsAnotherHistory puts entries of another store, whose hashes are right, in the place of the
// first ones: the first link that does not hold is that of the first entry kept.
func TestVerifyFindsAnotherHistory(t *testing.T) {
	t.Parallel()
	for replaced := int64(1); replaced <= 3; replaced++ {
		s, clock := filled(t)
		other, _ := filled(t)
		history, err := store.Entries(t.Context(), other, "services/a", 0, 10)
		if err != nil || len(history) != 3 {
			t.Fatal(history, err)
		}
		var data []json.RawMessage
		for _, e := range history {
			d, err := other.Get(t.Context(), store.Ref{Collection: store.Journal, ID: e.ID})
			if err != nil {
				t.Fatal(err)
			}
			data = append(data, d.Data)
		}
		forged := tampered{s, func(d *store.Document) bool {
			if e, err := store.EntryOf(*d); err == nil && e.Object == "services/a" && e.Sequence <= replaced {
				d.Data = data[e.Sequence-1]
			}
			return true
		}}
		report, err := store.Verify(t.Context(), forged, clock.Now())
		if err != nil || report.Clean() {
			t.Fatalf("%d entries replaced: nothing found, %v", replaced, err)
		}
		want := "link to the previous entry is broken"
		if replaced == 3 {
			want = "head is not the last entry's hash"
		}
		if f := report.Faults[0]; f.Problem != want || f.Sequence != min(replaced+1, 3) {
			t.Errorf("%d entries replaced: %s; want %s", replaced, f, want)
		}
	}
}
