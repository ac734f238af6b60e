package firestorestore_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// queries are the shapes that the platform asks with an order; those ordered by id need no index.
func queries() []store.Query {
	key := func(op store.Op) store.Filter { return store.Filter{Field: "key", Op: op, Value: "services/a/"} }
	return append(storetest.Queries(),
		store.Query{Collection: store.Journal, OrderBy: "key"},
		store.Query{Collection: store.Journal, OrderBy: "key", Where: []store.Filter{key(store.Gt), key(store.Le)}},
		store.Query{Collection: store.Journal, OrderBy: "key", Where: []store.Filter{key(store.Gt), key(store.Le)}, Descending: true},
	)
}

func TestDeclaredIndexesCoverQueries(t *testing.T) {
	t.Parallel()
	declared, err := firestorestore.DeclaredIndexes()
	if err != nil {
		t.Fatal(err)
	}
	used := make([]bool, len(declared))
	for _, q := range queries() {
		required, ok := firestorestore.RequiredIndex(q)
		if !ok {
			continue
		}
		i := slices.IndexFunc(declared, func(d firestorestore.Index) bool { return d.Covers(required) })
		if i < 0 {
			t.Errorf("%+v needs %+v, which firestore.indexes.json does not declare", q, required)
			continue
		}
		used[i] = true
	}
	for i, is := range used {
		if !is {
			t.Errorf("%+v is declared and nothing needs it", declared[i])
		}
	}
}

func TestDeclaredTTL(t *testing.T) {
	t.Parallel()
	got, err := firestorestore.DeclaredTTL()
	if err != nil {
		t.Fatal(err)
	}
	// All but the journal, which stays.
	want := slices.DeleteFunc(store.Collections(), func(c string) bool { return c == store.Journal })
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("collections with a TTL policy (-want +got):\n%s", diff)
	}
}

func TestRequiredIndex(t *testing.T) {
	t.Parallel()
	where := func(field string, op store.Op) store.Filter { return store.Filter{Field: field, Op: op, Value: "x"} }
	for name, tt := range map[string]struct {
		query store.Query
		want  []firestorestore.IndexField
	}{
		"by id":             {store.Query{Where: []store.Filter{where("a", store.Eq), where("b", store.Eq)}}, nil},
		"order alone":       {store.Query{OrderBy: "a"}, nil},
		"range":             {store.Query{OrderBy: "a", Where: []store.Filter{where("a", store.Gt), where("a", store.Lt)}}, nil},
		"equal on order":    {store.Query{OrderBy: "a", Where: []store.Filter{where("a", store.Eq)}}, nil},
		"equal and order":   {store.Query{OrderBy: "b", Where: []store.Filter{where("a", store.Eq)}}, []firestorestore.IndexField{{Path: "a", Mode: "ASCENDING"}, {Path: "b", Mode: "ASCENDING"}}},
		"two equal":         {store.Query{OrderBy: "c", Where: []store.Filter{where("b", store.Eq), where("a", store.Eq), where("b", store.Eq)}}, []firestorestore.IndexField{{Path: "a", Mode: "ASCENDING"}, {Path: "b", Mode: "ASCENDING"}, {Path: "c", Mode: "ASCENDING"}}},
		"contains and down": {store.Query{OrderBy: "b", Descending: true, Where: []store.Filter{where("a", store.Contains)}}, []firestorestore.IndexField{{Path: "a", Mode: "CONTAINS"}, {Path: "b", Mode: "DESCENDING"}}},
	} {
		got, ok := firestorestore.RequiredIndex(tt.query)
		if diff := cmp.Diff(tt.want, got.Fields); diff != "" || ok != (tt.want != nil) {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
