package firestorestore_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/google/go-cmp/cmp"
	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
)

// What an event carries, which is a document as Firestore keeps it, reads as the store reads it.
func TestDocumentOfEventIsWhatGetReturns(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC) }
	client := emulatortest.Client(t)
	s, err := firestorestore.New(client, firestorestore.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := firestore.NewClient(t.Context(), option.WithEndpoint(emulatortest.Addr(t)), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	kept := func(ref store.Ref) *firestoredata.Document {
		t.Helper()
		doc, err := raw.GetDocument(t.Context(), &firestorepb.GetDocumentRequest{
			Name: client.Collection(ref.Collection).Doc(ref.ID).Path,
		})
		if err != nil {
			t.Fatal(err)
		}
		wire, err := proto.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var event firestoredata.Document
		if err := proto.Unmarshal(wire, &event); err != nil {
			t.Fatal(err)
		}
		return &event
	}
	for name, w := range map[string]store.Write{
		"journaled": {Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: json.RawMessage(`{"a":[1,2.5,null,true,"x",{}],"b":{"c":[]},"d":9007199254740993,"e":1e300}`)},
		"expiring":  {Ref: store.Ref{Collection: store.Leases, ID: "a"}, Data: map[string]any{"s": "\u2028<é>"}, ExpiresAt: now().Add(time.Hour + 1500*time.Nanosecond)},
		"empty":     {Ref: store.Ref{Collection: store.Health, ID: "a"}, Data: struct{}{}},
	} {
		if _, err := s.Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: "isectech-register", Cause: "test"}); err != nil {
			t.Fatal(err)
		}
		want, err := s.Get(t.Context(), w.Ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := firestorestore.DocumentOfEvent(kept(w.Ref))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}

	ref := store.Ref{Collection: store.Services, ID: "a"}
	if _, err := s.Commit(t.Context(), store.Batch{Writes: []store.Write{{Ref: ref}}, Actor: "isectech-register", Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	got, err := firestorestore.DocumentOfEvent(kept(ref))
	if err != nil {
		t.Fatal(err)
	}
	for want, err := range s.Changes(t.Context(), store.Services, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || !got.Deleted {
			t.Errorf("tombstone (-want +got):\n%s", diff)
		}
	}
}

// What EventDocument writes, DocumentOfEvent reads.
func TestEventDocumentRoundTrip(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[a-z"é]{0,8}`)
	scalar := rapid.OneOf(rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Float64Range(-1e9, 1e9).AsAny(), text.AsAny())
	value := rapid.OneOf(scalar, rapid.SliceOfN(scalar, 0, 3).AsAny(), rapid.MapOfN(rapid.StringMatching(`[a-z]{1,8}`), scalar, 0, 3).AsAny())
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC()
	})
	rapid.Check(t, func(t *rapid.T) {
		d := store.Document{
			Ref:        store.Ref{Collection: store.Services, ID: rapid.StringMatching(`[a-z0-9][a-z0-9.-]{0,20}`).Draw(t, "id")},
			Generation: rapid.Int64Min(1).Draw(t, "generation"),
			UpdatedAt:  moment.Draw(t, "updated"),
			UpdatedBy:  text.Draw(t, "by"),
			Deleted:    rapid.Bool().Draw(t, "deleted"),
			Head:       text.Draw(t, "head"),
		}
		if !d.Deleted {
			data, err := store.Canonical(map[string]any{"x": value.Draw(t, "data")})
			if err != nil {
				t.Fatal(err)
			}
			d.Data = data
			if rapid.Bool().Draw(t, "expires") {
				d.ExpiresAt = moment.Draw(t, "expiry")
			}
		}
		doc, err := firestorestore.EventDocument("p", d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := firestorestore.DocumentOfEvent(doc)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestDocumentOfEventRefuses(t *testing.T) {
	t.Parallel()
	integer := &firestoredata.Value{ValueType: &firestoredata.Value_IntegerValue{IntegerValue: 0}}
	field := func(name string, v *firestoredata.Value) func(*firestoredata.Document) {
		return func(d *firestoredata.Document) {
			if v == nil {
				delete(d.Fields, name)
			} else {
				d.Fields[name] = v
			}
		}
	}
	named := func(name string) func(*firestoredata.Document) {
		return func(d *firestoredata.Document) { d.Name = name }
	}
	for name, tt := range map[string]struct {
		change func(*firestoredata.Document)
		want   error
	}{
		"no name":                   {named(""), store.ErrInvalid},
		"below another document":    {named("projects/p/databases/d/documents/services/a/x/y"), store.ErrInvalid},
		"another collection":        {named("projects/p/databases/d/documents/secrets/a"), store.ErrInvalid},
		"reserved id":               {named("projects/p/databases/d/documents/services/__a__"), store.ErrInvalid},
		"no update time":            {func(d *firestoredata.Document) { d.UpdateTime = nil }, store.ErrCorrupt},
		"generation 0":              {field("generation", integer), store.ErrCorrupt},
		"no generation":             {field("generation", nil), store.ErrCorrupt},
		"no updated_at":             {field("updated_at", nil), store.ErrCorrupt},
		"updated_at no time":        {field("updated_at", integer), store.ErrCorrupt},
		"updated_by no text":        {field("updated_by", integer), store.ErrCorrupt},
		"deleted no bool":           {field("deleted", integer), store.ErrCorrupt},
		"head no text":              {field("head", integer), store.ErrCorrupt},
		"expires_at no time":        {field("expires_at", integer), store.ErrCorrupt},
		"a value of no type":        {field("x", &firestoredata.Value{}), store.ErrCorrupt},
		"a value that JSON has not": {field("x", &firestoredata.Value{ValueType: &firestoredata.Value_BytesValue{BytesValue: []byte{1}}}), store.ErrCorrupt},
		"data beside a tombstone":   {field("deleted", &firestoredata.Value{ValueType: &firestoredata.Value_BooleanValue{BooleanValue: true}}), store.ErrCorrupt},
		"nil among the values":      {field("x", &firestoredata.Value{ValueType: &firestoredata.Value_ArrayValue{ArrayValue: &firestoredata.ArrayValue{Values: []*firestoredata.Value{nil}}}}), store.ErrCorrupt},
		"a time that there is not":  {field("updated_at", &firestoredata.Value{ValueType: &firestoredata.Value_TimestampValue{}}), store.ErrCorrupt},
	} {
		doc, err := firestorestore.EventDocument("p", store.Document{
			Ref: store.Ref{Collection: store.Services, ID: "a"}, Generation: 1, UpdatedAt: time.Unix(1, 0).UTC(), Data: json.RawMessage(`{"a":1}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		tt.change(doc)
		if d, err := firestorestore.DocumentOfEvent(doc); !errors.Is(err, tt.want) || d.Generation != 0 {
			t.Errorf("%s: %v; want %v", name, err, tt.want)
		}
	}
	if d, err := firestorestore.DocumentOfEvent(nil); err != nil || d.Generation != 0 {
		t.Errorf("nothing: %+v, %v", d, err)
	}
}
