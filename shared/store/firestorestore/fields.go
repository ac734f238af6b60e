package firestorestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/store"
)

// The envelope's fields. Canonical keeps data from having them.
const (
	fieldGeneration = "generation"
	fieldUpdatedAt  = "updated_at"
	fieldUpdatedBy  = "updated_by"
	fieldExpiresAt  = "expires_at"
	fieldDeleted    = "deleted"
	fieldHead       = "head"
)

// tombstoneLife is after what time the TTL policy on expires_at may remove a tombstone: the 24 hours of the
// contract and one for clocks that disagree.
const tombstoneLife = 25 * time.Hour

// fieldsOf returns what Firestore is to hold for a document.
func fieldsOf(d store.Document, now time.Time) (map[string]any, error) {
	fields := map[string]any{}
	if !d.Deleted {
		data, err := decodeObject(d.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Ref, err)
		}
		fields = data
	}
	fields[fieldGeneration] = d.Generation
	fields[fieldUpdatedAt] = firestore.ServerTimestamp
	fields[fieldUpdatedBy] = d.UpdatedBy
	fields[fieldDeleted] = d.Deleted
	if d.Head != "" {
		fields[fieldHead] = d.Head
	}
	switch {
	case d.Deleted:
		fields[fieldExpiresAt] = now.Add(tombstoneLife)
	case !d.ExpiresAt.IsZero():
		fields[fieldExpiresAt] = d.ExpiresAt
	}
	return fields, nil
}

// documentOf reads a snapshot of a document that exists. Its UpdatedAt is Firestore's own update time,
// which is the commit's: commits become visible in its order, as the server's timestamp in updated_at,
// taken a little earlier, does not promise.
func documentOf(snap *firestore.DocumentSnapshot) (store.Document, error) {
	ref := store.Ref{Collection: snap.Ref.Parent.ID, ID: snap.Ref.ID}
	corrupt := func(field string) (store.Document, error) {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: fmt.Errorf("field %s is not as it was written", field)}
	}
	fields := snap.Data()
	d := store.Document{Ref: ref, UpdatedAt: snap.UpdateTime.UTC().Truncate(time.Microsecond)}
	var ok bool
	if d.Generation, ok = fields[fieldGeneration].(int64); !ok || d.Generation < 1 {
		return corrupt(fieldGeneration)
	}
	if _, ok = fields[fieldUpdatedAt].(time.Time); !ok {
		return corrupt(fieldUpdatedAt)
	}
	if d.UpdatedBy, ok = fields[fieldUpdatedBy].(string); !ok {
		return corrupt(fieldUpdatedBy)
	}
	if d.Deleted, ok = fields[fieldDeleted].(bool); !ok {
		return corrupt(fieldDeleted)
	}
	if head, there := fields[fieldHead]; there {
		if d.Head, ok = head.(string); !ok {
			return corrupt(fieldHead)
		}
	}
	if expires, there := fields[fieldExpiresAt]; there && !d.Deleted {
		at, ok := expires.(time.Time)
		if !ok {
			return corrupt(fieldExpiresAt)
		}
		d.ExpiresAt = at.UTC().Truncate(time.Microsecond)
	}
	for _, name := range []string{fieldGeneration, fieldUpdatedAt, fieldUpdatedBy, fieldDeleted, fieldHead, fieldExpiresAt} {
		delete(fields, name)
	}
	if d.Deleted {
		if len(fields) > 0 {
			return corrupt(slices.Sorted(maps.Keys(fields))[0])
		}
		return d, nil
	}
	data, err := appendValue(nil, fields)
	if err != nil {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: err}
	}
	d.Data = data
	return d, nil
}

// decodeObject reads canonical data into the types that the client writes: a number is an int64 if it is
// spelled as an integer, else a float64.
func decodeObject(data json.RawMessage) (map[string]any, error) {
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	for name, v := range object {
		converted, err := convertNumbers(v)
		if err != nil {
			return nil, err
		}
		object[name] = converted
	}
	return object, nil
}

func convertNumbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return i, nil
		}
		return v.Float64()
	case map[string]any:
		for name, member := range v {
			if v[name], err = convertNumbers(member); err != nil {
				return nil, err
			}
		}
	case []any:
		for i, element := range v {
			if v[i], err = convertNumbers(element); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// appendValue writes what the client has read as canonical JSON.
func appendValue(out []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case int64:
		return strconv.AppendInt(out, v, 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("a number that JSON does not have")
		}
		return store.AppendFloat(out, v), nil
	case string:
		return jsontext.AppendQuote(out, v)
	case []any:
		out = append(out, '[')
		for i, element := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendValue(out, element); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		out = append(out, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = jsontext.AppendQuote(out, name); err != nil {
				return nil, err
			}
			if out, err = appendValue(append(out, ':'), v[name]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	default:
		return nil, fmt.Errorf("a value of type %T", v)
	}
}
