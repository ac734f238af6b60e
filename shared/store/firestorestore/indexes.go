package firestorestore

import (
	"cmp"
	_ "embed" // for firestore.indexes.json
	"encoding/json"
	"fmt"
	"slices"

	"github.com/isectech/service-networking/shared/store"
)

// indexesJSON declares the composite indexes and the TTL policies of the database, in the format of the
// Firebase tools; the deployment reads the same file. The emulator needs none of them and so can't tell
// when one is missing: a query that is not ordered by id alone belongs into the test beside this file.
//
//go:embed firestore.indexes.json
var indexesJSON []byte

// How a field takes part in an index.
const (
	Ascending  = "ASCENDING"
	Descending = "DESCENDING"
	Contains   = "CONTAINS"
)

// Index is a composite index of a collection.
type Index struct {
	Collection string
	Fields     []IndexField
}

// IndexField is a field of an index with Ascending, Descending or Contains.
type IndexField struct {
	Path string
	Mode string
}

// Covers reports whether the index serves queries that require other: the same fields in the same modes,
// those that are compared for equality in any order.
func (i Index) Covers(other Index) bool {
	return i.Collection == other.Collection && slices.Equal(i.normal(), other.normal())
}

// normal sorts all fields but the last, which orders; equality can be looked up in either direction.
func (i Index) normal() []IndexField {
	fields := slices.Clone(i.Fields)
	if len(fields) == 0 {
		return fields
	}
	equal := fields[:len(fields)-1]
	for n, f := range equal {
		if f.Mode == Descending {
			equal[n].Mode = Ascending
		}
	}
	slices.SortFunc(equal, compareFields)
	return fields
}

func compareFields(a, b IndexField) int {
	return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Mode, b.Mode))
}

// RequiredIndex returns the composite index that Firestore wants for a query; false if the indexes that it
// makes of each field by itself are enough: ordered by id, it merges them, and an order without other
// filters needs only its own field's.
func RequiredIndex(q store.Query) (Index, bool) {
	if q.OrderBy == "" {
		return Index{}, false
	}
	index := Index{Collection: q.Collection}
	for _, f := range q.Where {
		switch {
		case f.Op == store.Contains:
			index.Fields = append(index.Fields, IndexField{f.Field, Contains})
		case f.Op == store.Eq && f.Field != q.OrderBy:
			index.Fields = append(index.Fields, IndexField{f.Field, Ascending})
		}
	}
	if len(index.Fields) == 0 {
		return Index{}, false
	}
	slices.SortFunc(index.Fields, compareFields)
	index.Fields = slices.Compact(index.Fields)
	mode := Ascending
	if q.Descending {
		mode = Descending
	}
	index.Fields = append(index.Fields, IndexField{q.OrderBy, mode})
	return index, true
}

// declarations is the format of the file.
type declarations struct {
	Indexes []struct {
		CollectionGroup string `json:"collectionGroup"`
		QueryScope      string `json:"queryScope"`
		Fields          []struct {
			FieldPath   string `json:"fieldPath"`
			Order       string `json:"order,omitempty"`
			ArrayConfig string `json:"arrayConfig,omitempty"`
		} `json:"fields"`
	} `json:"indexes"`
	FieldOverrides []struct {
		CollectionGroup string            `json:"collectionGroup"`
		FieldPath       string            `json:"fieldPath"`
		TTL             bool              `json:"ttl"`
		Indexes         []json.RawMessage `json:"indexes"`
	} `json:"fieldOverrides"`
}

// DeclaredIndexes returns the composite indexes of the database.
func DeclaredIndexes() ([]Index, error) {
	declared, err := readDeclarations()
	if err != nil {
		return nil, err
	}
	var indexes []Index
	for _, d := range declared.Indexes {
		index := Index{Collection: d.CollectionGroup}
		for _, f := range d.Fields {
			index.Fields = append(index.Fields, IndexField{f.FieldPath, f.Order + f.ArrayConfig})
		}
		indexes = append(indexes, index)
	}
	return indexes, nil
}

// DeclaredTTL returns the collections whose expires_at has a TTL policy.
func DeclaredTTL() ([]string, error) {
	declared, err := readDeclarations()
	if err != nil {
		return nil, err
	}
	var collections []string
	for _, f := range declared.FieldOverrides {
		if f.TTL && f.FieldPath == fieldExpiresAt {
			collections = append(collections, f.CollectionGroup)
		}
	}
	return collections, nil
}

func readDeclarations() (declarations, error) {
	var d declarations
	if err := json.Unmarshal(indexesJSON, &d); err != nil {
		return d, fmt.Errorf("firestore.indexes.json: %w", err)
	}
	return d, nil
}
