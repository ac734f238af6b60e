package firestorestore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"

	"github.com/isectech/service-networking/shared/store"
)

// DocumentOfEvent reads a document as Firestore's change events carry it; it is what Get, or Changes for a
// tombstone, would have returned of that moment. Nil, and a document without a name, are nothing at all:
// the zero Document, since an event leaves out the side of a change on which there was no document.
//
// It returns store.ErrInvalid for a document that is none of this store's (another database's layout, a
// collection that there is not, an id that none can have), and a *store.CorruptError for one that is not
// as it was written.
func DocumentOfEvent(doc *firestoredata.Document) (store.Document, error) {
	if doc.GetName() == "" && len(doc.GetFields()) == 0 {
		return store.Document{}, nil
	}
	ref, err := refOfName(doc.GetName())
	if err != nil {
		return store.Document{}, err
	}
	if err := doc.GetUpdateTime().CheckValid(); err != nil {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: fmt.Errorf("no update time: %w", err)}
	}
	fields, err := fieldsOfEvent(doc.GetFields())
	if err != nil {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: err}
	}
	d := store.Document{Ref: ref, UpdatedAt: doc.GetUpdateTime().AsTime().UTC().Truncate(time.Microsecond)}
	if field := takeEnvelope(fields, &d); field != "" {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: fmt.Errorf("field %s is not as it was written", field)}
	}
	if d.Deleted {
		return d, nil
	}
	if d.Data, err = appendValue(nil, fields); err != nil {
		return store.Document{}, &store.CorruptError{Ref: ref, Err: err}
	}
	return d, nil
}

// refOfName parses projects/P/databases/D/documents/COLLECTION/ID.
func refOfName(name string) (store.Ref, error) {
	parts := strings.Split(name, "/")
	if len(parts) != 7 || parts[0] != "projects" || parts[2] != "databases" || parts[4] != "documents" {
		return store.Ref{}, fmt.Errorf("%w: document %.200q is not of this store's layout", store.ErrInvalid, name)
	}
	ref := store.Ref{Collection: parts[5], ID: parts[6]}
	return ref, ref.Validate()
}

// takeEnvelope moves the envelope's fields into d and returns the name of the first that is not as fieldsOf
// writes it, or "".
func takeEnvelope(fields map[string]any, d *store.Document) (wrong string) {
	_, stamped := fields[fieldUpdatedAt].(time.Time)
	switch {
	case !take(fields, fieldGeneration, &d.Generation) || d.Generation < 1:
		return fieldGeneration
	case !stamped:
		return fieldUpdatedAt
	case !take(fields, fieldUpdatedBy, &d.UpdatedBy):
		return fieldUpdatedBy
	case !take(fields, fieldDeleted, &d.Deleted):
		return fieldDeleted
	case has(fields, fieldHead) && !take(fields, fieldHead, &d.Head):
		return fieldHead
	case !d.Deleted && has(fields, fieldExpiresAt) && !take(fields, fieldExpiresAt, &d.ExpiresAt):
		return fieldExpiresAt
	}
	d.ExpiresAt = d.ExpiresAt.Truncate(time.Microsecond)
	delete(fields, fieldUpdatedAt)
	delete(fields, fieldExpiresAt) // of a tombstone: when it may be removed, which is not the document's
	if d.Deleted && len(fields) > 0 {
		return slices.Sorted(maps.Keys(fields))[0]
	}
	return ""
}

// take moves a field of type T out of fields; false if it is not there or of another type.
func take[T any](fields map[string]any, name string, into *T) bool {
	v, ok := fields[name].(T)
	if ok {
		*into = v
		delete(fields, name)
	}
	return ok
}

func has(fields map[string]any, name string) bool {
	_, there := fields[name]
	return there
}

// fieldsOfEvent gives the values the types that the client gives them.
func fieldsOfEvent(fields map[string]*firestoredata.Value) (map[string]any, error) {
	out := make(map[string]any, len(fields))
	for name, v := range fields {
		value, err := valueOfEvent(v)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

func valueOfEvent(v *firestoredata.Value) (any, error) {
	switch v := v.GetValueType().(type) {
	case *firestoredata.Value_NullValue:
		return nil, nil
	case *firestoredata.Value_BooleanValue:
		return v.BooleanValue, nil
	case *firestoredata.Value_IntegerValue:
		return v.IntegerValue, nil
	case *firestoredata.Value_DoubleValue:
		return v.DoubleValue, nil
	case *firestoredata.Value_StringValue:
		return v.StringValue, nil
	case *firestoredata.Value_TimestampValue:
		if err := v.TimestampValue.CheckValid(); err != nil {
			return nil, err
		}
		return v.TimestampValue.AsTime(), nil
	case *firestoredata.Value_ArrayValue:
		elements := make([]any, len(v.ArrayValue.GetValues()))
		for i, element := range v.ArrayValue.GetValues() {
			value, err := valueOfEvent(element)
			if err != nil {
				return nil, err
			}
			elements[i] = value
		}
		return elements, nil
	case *firestoredata.Value_MapValue:
		return fieldsOfEvent(v.MapValue.GetFields())
	default: // bytes, references and places on the globe, which Canonical knows nothing of
		return nil, fmt.Errorf("a value of type %T", v)
	}
}
