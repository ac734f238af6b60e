package firestorestore

import (
	"fmt"
	"time"

	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isectech/service-networking/shared/store"
)

// EventDocument returns a document of a project's default database as Firestore's change events carry it.
// DocumentOfEvent reads it back.
func EventDocument(project string, d store.Document) (*firestoredata.Document, error) {
	fields, err := fieldsOf(d, d.UpdatedAt)
	if err != nil {
		return nil, err
	}
	fields[fieldUpdatedAt] = d.UpdatedAt // what the server made of its own clock
	values, err := eventFields(fields)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Ref, err)
	}
	at := timestamppb.New(d.UpdatedAt)
	return &firestoredata.Document{
		Name:       fmt.Sprintf("projects/%s/databases/(default)/documents/%s", project, d.Ref),
		Fields:     values,
		CreateTime: at,
		UpdateTime: at,
	}, nil
}

func eventFields(fields map[string]any) (map[string]*firestoredata.Value, error) {
	out := make(map[string]*firestoredata.Value, len(fields))
	for name, v := range fields {
		value, err := eventValue(v)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

func eventValue(v any) (*firestoredata.Value, error) {
	switch v := v.(type) {
	case nil:
		return &firestoredata.Value{ValueType: &firestoredata.Value_NullValue{}}, nil
	case bool:
		return &firestoredata.Value{ValueType: &firestoredata.Value_BooleanValue{BooleanValue: v}}, nil
	case int64:
		return &firestoredata.Value{ValueType: &firestoredata.Value_IntegerValue{IntegerValue: v}}, nil
	case float64:
		return &firestoredata.Value{ValueType: &firestoredata.Value_DoubleValue{DoubleValue: v}}, nil
	case string:
		return &firestoredata.Value{ValueType: &firestoredata.Value_StringValue{StringValue: v}}, nil
	case time.Time:
		return &firestoredata.Value{ValueType: &firestoredata.Value_TimestampValue{TimestampValue: timestamppb.New(v)}}, nil
	case []any:
		array := &firestoredata.ArrayValue{Values: make([]*firestoredata.Value, len(v))}
		for i, element := range v {
			var err error
			if array.Values[i], err = eventValue(element); err != nil {
				return nil, err
			}
		}
		return &firestoredata.Value{ValueType: &firestoredata.Value_ArrayValue{ArrayValue: array}}, nil
	case map[string]any:
		fields, err := eventFields(v)
		return &firestoredata.Value{ValueType: &firestoredata.Value_MapValue{MapValue: &firestoredata.MapValue{Fields: fields}}}, err
	default:
		return nil, fmt.Errorf("a value of type %T", v)
	}
}
