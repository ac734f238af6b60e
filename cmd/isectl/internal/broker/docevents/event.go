package docevents

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/shared/store/firestorestore"
)

const (
	eventType   = "google.cloud.firestore.document.v1.written"
	eventSchema = "https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/firestore/v1/data.proto"
	database    = "(default)"
	namespace   = "(default)"
	location    = "us-central1"

	fieldUpdatedAt = "updated_at"
)

// setHeader sets the CloudEvent's attributes.
func setHeader(h http.Header, project string, r boltstore.LogRecord) {
	h.Set("Content-Type", "application/protobuf")
	h.Set("ce-specversion", "1.0")
	h.Set("ce-id", eventID(r))
	h.Set("ce-type", eventType)
	h.Set("ce-source", "//firestore.googleapis.com/projects/"+project+"/databases/"+database)
	h.Set("ce-subject", "documents/"+r.Ref.String())
	h.Set("ce-time", r.At.UTC().Format(time.RFC3339Nano))
	h.Set("ce-dataschema", eventSchema)
	h.Set("ce-project", project)
	h.Set("ce-database", database)
	h.Set("ce-namespace", namespace)
	h.Set("ce-location", location)
	h.Set("ce-document", r.Ref.String())
}

// eventID is the same whenever a record is sent and another for every other record, also for one of a file
// that was made in the place of this one: a UUID of version 8 made of what is in the record.
func eventID(r boltstore.LogRecord) string {
	id := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%d\n%d\n%s\n%s", r.Ref, r.Seq, r.At.UnixMicro(),
		max(r.Before.Generation, r.After.Generation), r.Before.Head, r.After.Head))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
}

// payload is the event's data.
func payload(project string, r boltstore.LogRecord) ([]byte, error) {
	data := new(firestoredata.DocumentEventData)
	created := r.Created
	if created.IsZero() {
		created = cmp.Or(r.Before.UpdatedAt, r.At) // older than the log: at the latest then
	}
	var err error
	if data.OldValue, err = document(project, r.Before, created); err != nil {
		return nil, err
	}
	if data.Value, err = document(project, r.After, created); err != nil {
		return nil, err
	}
	if data.OldValue != nil && data.Value != nil {
		data.UpdateMask = &firestoredata.DocumentMask{FieldPaths: changed("", data.OldValue.GetFields(), data.Value.GetFields())}
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(data)
}

// document returns one side of a change; nil where there was no document.
func document(project string, d store.Document, created time.Time) (*firestoredata.Document, error) {
	if d.Generation == 0 {
		return nil, nil
	}
	doc, err := firestorestore.EventDocument(project, d)
	if err != nil {
		return nil, err
	}
	doc.CreateTime = timestamppb.New(created)
	// A server's timestamp, which is what this field holds, has whole milliseconds.
	doc.Fields[fieldUpdatedAt] = &firestoredata.Value{ValueType: &firestoredata.Value_TimestampValue{
		TimestampValue: timestamppb.New(d.UpdatedAt.Truncate(time.Millisecond)),
	}}
	return doc, nil
}

// changed returns the paths of the fields that differ, maps looked into.
func changed(prefix string, before, after map[string]*firestoredata.Value) []string {
	names := slices.Collect(maps.Keys(before))
	for name := range after {
		if before[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var paths []string
	for _, name := range names {
		b, a := before[name], after[name]
		path := prefix + quoted(name)
		switch {
		case b.GetMapValue() != nil && a.GetMapValue() != nil:
			paths = append(paths, changed(path+".", b.GetMapValue().GetFields(), a.GetMapValue().GetFields())...)
		case !proto.Equal(b, a):
			paths = append(paths, path)
		}
	}
	return paths
}

// quoted writes a field's name as it stands in a path.
func quoted(name string) string {
	simple := name != "" && (name[0] < '0' || name[0] > '9')
	for i := range len(name) {
		c := name[i]
		simple = simple && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_')
	}
	if simple {
		return name
	}
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}
