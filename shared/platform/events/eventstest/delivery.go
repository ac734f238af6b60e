package eventstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/proto"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
)

// Project is the project that the deliveries come from.
const Project = "isectech-test"

// Push returns the raw push of an event that was published on a topic at a time, as message id.
func Push(topic string, e events.Event, id string, at time.Time) (*http.Request, error) {
	m, err := events.Message(topic, e)
	if err != nil {
		return nil, err
	}
	message := map[string]any{
		"messageId": id, "message_id": id,
		"publishTime": at.UTC().Format(time.RFC3339Nano), "publish_time": at.UTC().Format(time.RFC3339Nano),
	}
	if len(m.Data) > 0 {
		message["data"] = m.Data
	}
	if len(m.Attributes) > 0 {
		message["attributes"] = m.Attributes
	}
	if m.OrderingKey != "" {
		message["orderingKey"] = m.OrderingKey
	}
	body, err := json.Marshal(map[string]any{
		"message": message, "subscription": "projects/" + Project + "/subscriptions/" + topic + "-push",
	})
	if err != nil {
		return nil, err
	}
	return request(http.Header{"Content-Type": {"application/json"}}, body)
}

// Eventarc returns the same push as Eventarc passes it on.
func Eventarc(topic string, e events.Event, id string, at time.Time) (*http.Request, error) {
	r, err := Push(topic, e, id, at)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"ce-id": id, "ce-specversion": "1.0", "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
		"ce-source": "//pubsub.googleapis.com/projects/" + Project + "/topics/" + topic,
		"ce-time":   at.UTC().Format(time.RFC3339Nano),
	} {
		r.Header.Set(name, value)
	}
	return r, nil
}

// Written returns the change of a document from before to after, either of which may be nil, as Eventarc
// brings it from Firestore with an event's id.
func Written(id string, before, after *store.Document, at time.Time) (*http.Request, error) {
	var data firestoredata.DocumentEventData
	var ref store.Ref
	for _, side := range []struct {
		from *store.Document
		to   **firestoredata.Document
	}{{before, &data.OldValue}, {after, &data.Value}} {
		if side.from == nil {
			continue
		}
		doc, err := firestorestore.EventDocument(Project, *side.from)
		if err != nil {
			return nil, err
		}
		*side.to, ref = doc, side.from.Ref
	}
	body, err := proto.Marshal(&data)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/protobuf"}}
	for name, value := range map[string]string{
		"ce-id": id, "ce-specversion": "1.0", "ce-type": events.TypeDocumentWritten,
		"ce-source":  fmt.Sprintf("//firestore.googleapis.com/projects/%s/databases/(default)", Project),
		"ce-subject": "documents/" + ref.String(), "ce-document": ref.String(),
		"ce-project": Project, "ce-database": "(default)", "ce-namespace": "(default)", "ce-location": "us-central1",
		"ce-time": at.UTC().Format(time.RFC3339Nano),
	} {
		header.Set(name, value)
	}
	return request(header, body)
}

func request(header http.Header, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://127.0.0.1/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header = header
	return r, nil
}
