package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/store"
)

// Queries returns the shapes of query that the suite asks, for back ends that have to declare indexes.
func Queries() []store.Query {
	var queries []store.Query
	for _, tt := range filterCases() {
		queries = append(queries, tt.query)
	}
	return queries
}

type filterCase struct {
	name  string
	query store.Query
	want  []string
}

func filterCases() []filterCase {
	q := func(orderBy string, where ...store.Filter) store.Query {
		return store.Query{Collection: store.Services, OrderBy: orderBy, Where: where}
	}
	where := func(field string, op store.Op, value any) store.Filter {
		return store.Filter{Field: field, Op: op, Value: value}
	}
	down := func(q store.Query) store.Query { q.Descending = true; return q }
	return []filterCase{
		{"all", q(""), []string{"a", "b", "c", "d", "e", "odd"}},
		{"string", q("", where("service_name", store.Eq, "x")), []string{"a", "c"}},
		{"two", q("", where("service_name", store.Eq, "x"), where("environment", store.Eq, "production")), []string{"a"}},
		{"bool", q("", where("public", store.Eq, true)), []string{"b"}},
		{"integer", q("", where("weight", store.Eq, int64(10))), []string{"b", "c"}},
		{"integer as float", q("", where("weight", store.Eq, 10.0)), []string{"b", "c"}},
		{"float", q("", where("weight", store.Eq, 2.5)), []string{"d"}},
		{"nested", q("", where("health.status", store.Eq, "up")), []string{"a", "d"}},
		{"contains", q("", where("tags", store.Contains, "blue")), []string{"a", "b"}},
		{"contains and equal", q("", where("tags", store.Contains, "blue"), where("service_name", store.Eq, "x")), []string{"a"}},
		{"contains on a string", q("", where("service_name", store.Contains, "x")), nil},
		{"other type", q("", where("weight", store.Eq, "10")), nil},
		{"missing", q("", where("nothing", store.Eq, "x")), nil},
		{"order", q("weight"), []string{"a", "d", "b", "c", "e"}},
		{"order down", down(q("weight")), []string{"e", "c", "b", "d", "a"}},
		{"order by text", q("service_name"), []string{"a", "c", "b", "d", "e"}},
		{"order by nested", q("health.status"), []string{"b", "a", "d"}},
		{"greater", q("weight", where("weight", store.Gt, 2.5)), []string{"b", "c", "e"}},
		{"greater or equal", q("weight", where("weight", store.Ge, 2.5)), []string{"d", "b", "c", "e"}},
		{"less", q("weight", where("weight", store.Lt, int64(10))), []string{"a", "d"}},
		{"less or equal down", down(q("weight", where("weight", store.Le, int64(10)))), []string{"c", "b", "d", "a"}},
		{"between", q("weight", where("weight", store.Gt, int64(1)), where("weight", store.Lt, int64(99))), []string{"d", "b", "c"}},
		{"range of text", q("service_name", where("service_name", store.Ge, "x"), where("service_name", store.Lt, "y")), []string{"a", "c"}},
		{"equal and order", q("weight", where("environment", store.Eq, "production")), []string{"a", "b", "e"}},
		{"equal and order down", down(q("weight", where("environment", store.Eq, "production"))), []string{"e", "b", "a"}},
		{"contains and order", q("weight", where("tags", store.Contains, "blue")), []string{"a", "b"}},
		{"equal, range and order", q("weight", where("environment", store.Eq, "production"), where("weight", store.Ge, int64(5))), []string{"b", "e"}},
	}
}

func testQueryFilters(t *testing.T, f *fixture) {
	for id, data := range map[string]object{
		"a":   {"service_name": "x", "environment": "production", "weight": 1, "tags": []string{"blue", "green"}, "health": object{"status": "up"}},
		"b":   {"service_name": "y", "environment": "production", "weight": 10, "tags": []string{"blue"}, "public": true, "health": object{"status": "down"}},
		"c":   {"service_name": "x", "environment": "staging", "weight": 10.0, "tags": []string{}, "public": false},
		"d":   {"service_name": "z", "environment": "staging", "weight": 2.5, "tags": []any{"red", 1, nil, object{"blue": "blue"}}, "health": object{"status": "up"}},
		"e":   {"service_name": "z", "environment": "production", "weight": 100, "health": "up"},
		"odd": {"service_name": nil, "environment": object{"production": 1}, "weight": []int{10}, "tags": object{"blue": 1}, "health": object{"status": []string{"up"}}},
	} {
		f.set(t, ref(store.Services, id), data)
	}
	f.set(t, ref(store.Services, "gone"), object{"service_name": "x", "weight": 1})
	f.write(t, store.Write{Ref: ref(store.Services, "gone")})
	f.set(t, ref(store.Leases, "a"), object{"service_name": "x", "weight": 1})
	for _, tt := range filterCases() {
		var got []string
		for _, limit := range []int{0, 1, 2} {
			tt.query.Limit = limit
			got = ids(f.all(t, tt.query))
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s, %d a page: %v; want %v", tt.name, limit, got, tt.want)
			}
		}
	}
	bad := []store.Query{
		{Collection: "nowhere"},
		{Collection: store.Services, Limit: -1},
		{Collection: store.Services, Descending: true},
		{Collection: store.Services, Limit: 501},
		{Collection: store.Services, PageToken: "x"},
		{Collection: store.Services, Where: []store.Filter{{Field: "a", Op: store.Gt, Value: 1}}},
		{Collection: store.Services, Where: []store.Filter{{Field: "a", Op: "!=", Value: 1}}},
		{Collection: store.Services, Where: []store.Filter{{Field: "a", Op: store.Eq, Value: nil}}},
		{Collection: store.Services, Where: []store.Filter{{Field: "", Op: store.Eq, Value: 1}}},
		{Collection: store.Services, Where: []store.Filter{{Field: "a..b", Op: store.Eq, Value: 1}}},
		{Collection: store.Services, Where: []store.Filter{{Field: "generation", Op: store.Eq, Value: 1}}},
		{Collection: store.Services, Where: make([]store.Filter, 11)},
	}
	for _, q := range bad {
		if _, err := f.Query(t.Context(), q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: %v; want ErrInvalid", q, err)
		}
	}
}

func testQueryOrder(t *testing.T, f *fixture) {
	values := []any{false, true, int64(-1 << 62), -1.5, -1, 0, 0.5, 1, int64(1<<53 + 1), int64(1<<53 + 2), 1e19, "", "A", "a", "aa", "ä", "\uffff", "😀"}
	var want []string
	for i, v := range values {
		id := fmt.Sprintf("%c%02d", 'z'-rune(i), i) // the order of ids is the reverse
		want = append(want, id)
		f.set(t, ref(store.Services, id), object{"v": v})
	}
	for id, data := range map[string]object{
		"none": {}, "null": {"v": nil}, "array": {"v": []int{1}}, "object": {"v": object{}},
		"long": {"v": strings.Repeat("a", 1501)},
	} {
		f.set(t, ref(store.Services, id), data)
	}
	for _, limit := range []int{1, 4, 100} {
		q := store.Query{Collection: store.Services, OrderBy: "v", Limit: limit}
		wantEqual(t, "order", want, ids(f.all(t, q)))
		q.Descending = true
		got := ids(f.all(t, q))
		slices.Reverse(got)
		wantEqual(t, "order down", want, got)
	}
}

func testQueryPages(t *testing.T, f *fixture) {
	const n = 45
	for i := range n {
		f.set(t, ref(store.Services, fmt.Sprintf("s-%02d", i)), object{"group": i % 3, "i": i})
	}
	for _, q := range []store.Query{
		{Collection: store.Services},
		{Collection: store.Services, OrderBy: "group"},
		{Collection: store.Services, OrderBy: "group", Descending: true},
		{Collection: store.Journal, OrderBy: "key"},
		{Collection: store.Journal, OrderBy: "key", Descending: true},
	} {
		q.Limit = 500
		whole, err := f.Query(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole.Documents) != n || whole.Next != "" {
			t.Errorf("%+v: %d documents, next %q", q, len(whole.Documents), whole.Next)
		}
		for _, limit := range []int{1, 7, n - 1, n, n + 1} {
			q.Limit = limit
			wantEqual(t, fmt.Sprintf("%+v", q), ids(whole.Documents), ids(f.all(t, q)))
		}
		q.Limit = n
		if page, err := f.Query(t.Context(), q); err != nil || page.Next != "" {
			t.Errorf("%+v: a full last page has a next one: %q, %v", q, page.Next, err)
		}
	}
}

// testQueryPagesWhileWriting pages through documents that stay while others come, change and go.
func testQueryPagesWhileWriting(t *testing.T, f *fixture) {
	const n = 30
	for i := range n {
		f.set(t, ref(store.Services, fmt.Sprintf("stay-%02d", i)), object{"v": i % 5})
		f.set(t, ref(store.Services, fmt.Sprintf("move-%02d", i)), object{"v": i % 5})
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			r := ref(store.Services, fmt.Sprintf("move-%02d", i%n))
			w := store.Write{Ref: r, Data: object{"v": i % 7}}
			if i%3 == 0 {
				w.Data = nil
			}
			if _, err := f.Commit(ctx, batch(w)); err != nil {
				if ctx.Err() != nil {
					err = nil
				}
				done <- err
				return
			}
		}
	}()
	for range 5 {
		for _, orderBy := range []string{"", "v"} {
			seen := map[string]int{}
			for _, d := range f.all(t, store.Query{Collection: store.Services, OrderBy: orderBy, Limit: 4}) {
				if strings.HasPrefix(d.Ref.ID, "stay-") {
					seen[d.Ref.ID]++
				}
			}
			for i := range n {
				if id := fmt.Sprintf("stay-%02d", i); seen[id] != 1 {
					t.Errorf("ordered by %q: %s %d times", orderBy, id, seen[id])
				}
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func testQueryTokens(t *testing.T, f *fixture) {
	for i := range 5 {
		f.set(t, ref(store.Services, fmt.Sprint(i)), object{"v": strings.Repeat("\x01", 1500), "w": i})
	}
	q := store.Query{Collection: store.Services, OrderBy: "v", Limit: 2}
	page, err := f.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	token := page.Next
	for name, other := range map[string]store.Query{
		"collection": {Collection: store.Leases, OrderBy: "v"},
		"order":      {Collection: store.Services, OrderBy: "w"},
		"no order":   {Collection: store.Services},
		"direction":  {Collection: store.Services, OrderBy: "v", Descending: true},
		"filter":     {Collection: store.Services, OrderBy: "v", Where: []store.Filter{{Field: "w", Op: store.Eq, Value: 1}}},
	} {
		other.PageToken = token
		if _, err := f.Query(t.Context(), other); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("token of another %s: %v; want ErrInvalid", name, err)
		}
	}
	for _, bad := range []string{"x", "e30", token[1:], token + "A", token + token, strings.Repeat("A", 1<<20), "=", "\x00"} {
		q.PageToken = bad
		if _, err := f.Query(t.Context(), q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("token %.20q: %v; want ErrInvalid", bad, err)
		}
	}
	q.PageToken, q.Limit = token, 100 // another limit is another page of the same query
	if page, err := f.Query(t.Context(), q); err != nil || len(page.Documents) != 3 {
		t.Errorf("rest: %d documents, %v", len(page.Documents), err)
	}
}
