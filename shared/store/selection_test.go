package store_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/store"
)

func TestScalarCompare(t *testing.T) {
	t.Parallel()
	number := rapid.Custom(func(t *rapid.T) any {
		if rapid.Bool().Draw(t, "whole") {
			return rapid.Int64().Draw(t, "int")
		}
		if rapid.Bool().Draw(t, "near") {
			return float64(rapid.Int64Range(-4, 4).Draw(t, "step"))*0.5 + float64(int64(1)<<53)
		}
		return rapid.Float64().Draw(t, "float")
	})
	exact := func(v any) *big.Float {
		if i, ok := v.(int64); ok {
			return new(big.Float).SetInt64(i)
		}
		return new(big.Float).SetFloat64(v.(float64))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		if got, want := store.ScalarOf(a).Compare(store.ScalarOf(b)), exact(a).Cmp(exact(b)); got != want {
			t.Fatalf("%v against %v: %d; want %d", a, b, got, want)
		}
	})
	ordered := []any{false, true, -1, 0.5, 1, "", "a"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := store.ScalarOf(a).Compare(store.ScalarOf(b)); got != cmp.Compare(i, j) {
				t.Errorf("%v against %v: %d", a, b, got)
			}
		}
	}
}

func TestPageTokenRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := store.Query{Collection: store.Services, OrderBy: "a.b"}
		sel, err := q.Plan()
		if err != nil {
			t.Fatal(err)
		}
		value := rapid.OneOf(rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64().AsAny(), rapid.StringN(0, 300, 1500).AsAny()).Draw(t, "value")
		want := store.Place{Value: store.ScalarOf(value), ID: rapid.StringMatching(`[A-Za-z0-9:@-]{1,512}`).Draw(t, "id")}
		if q.PageToken, err = sel.Next(want); err != nil {
			t.Fatal(err)
		}
		if sel, err = q.Plan(); err != nil {
			t.Fatalf("%v: %v", value, err)
		}
		got, ok := sel.Resume()
		if !ok || sel.Compare(got, want) != 0 {
			t.Fatalf("%v came back as %v", want, got)
		}
	})
}

// FuzzPageToken feeds tokens from anywhere to queries of each kind.
func FuzzPageToken(f *testing.F) {
	queries := []store.Query{
		{Collection: store.Services},
		{Collection: store.Services, OrderBy: "weight", Descending: true},
		{Collection: store.Journal, OrderBy: "key", Where: []store.Filter{{Field: "key", Op: store.Gt, Value: "a"}}},
	}
	for _, q := range queries {
		sel, err := q.Plan()
		if err != nil {
			f.Fatal(err)
		}
		for _, v := range []any{nil, "x", int64(7), 0.5, true} {
			token, err := sel.Next(store.Place{Value: store.ScalarOf(v), ID: "a"})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(token)
		}
	}
	f.Add("e30")
	f.Add(strings.Repeat("A", 20_000))
	f.Fuzz(func(t *testing.T, token string) {
		for _, q := range queries {
			q.PageToken = token
			sel, err := q.Plan()
			if err != nil {
				if !errors.Is(err, store.ErrInvalid) {
					t.Fatalf("%q: %v is not ErrInvalid", token, err)
				}
				continue
			}
			place, ok := sel.Resume()
			if !ok {
				if token != "" {
					t.Fatalf("%q was taken for no token", token)
				}
				continue
			}
			if (store.Ref{Collection: q.Collection, ID: place.ID}).Validate() != nil || place.Value.Orders() != (q.OrderBy != "") {
				t.Fatalf("%q gave the place %+v", token, place)
			}
		}
	})
}

func TestSelectionTake(t *testing.T) {
	t.Parallel()
	d := store.Document{Ref: store.Ref{Collection: store.Services, ID: "a"},
		Data: json.RawMessage(`{"a":{"b":{"c":1},"d":"x"},"list":[1,"1",{"x":1},null],"n":2.5,"z":true}`)}
	for name, tt := range map[string]struct {
		filter store.Filter
		want   bool
	}{
		"nested":            {store.Filter{Field: "a.b.c", Op: store.Eq, Value: 1}, true},
		"past the end":      {store.Filter{Field: "a.b.c.d", Op: store.Eq, Value: 1}, false},
		"an object":         {store.Filter{Field: "a.b", Op: store.Eq, Value: 1}, false},
		"after a nested":    {store.Filter{Field: "a.d", Op: store.Eq, Value: "x"}, true},
		"last":              {store.Filter{Field: "z", Op: store.Eq, Value: true}, true},
		"before the first":  {store.Filter{Field: "A", Op: store.Eq, Value: true}, false},
		"between":           {store.Filter{Field: "b", Op: store.Eq, Value: true}, false},
		"after the last":    {store.Filter{Field: "zz", Op: store.Eq, Value: true}, false},
		"element":           {store.Filter{Field: "list", Op: store.Contains, Value: "1"}, true},
		"element as number": {store.Filter{Field: "list", Op: store.Contains, Value: 1.0}, true},
		"no element":        {store.Filter{Field: "list", Op: store.Contains, Value: "x"}, false},
	} {
		sel, err := store.Query{Collection: store.Services, Where: []store.Filter{tt.filter}}.Plan()
		if err != nil {
			t.Fatal(err)
		}
		place, got := sel.Take(d)
		if got != tt.want {
			t.Errorf("%s: %v; want %v", name, got, tt.want)
		}
		if diff := gocmp.Diff(store.Place{ID: "a"}.ID, place.ID); got && diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
