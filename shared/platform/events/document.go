package events

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/proto"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
)

const (
	mediaProtobuf = "application/protobuf"
	// maxMessages bounds how deep messages nest: of a document's twenty levels each is four.
	maxMessages = 128
)

// decodeDocument reads a change of a document. Which sides there are counts, not what the type says.
func (h head) decodeDocument(r *http.Request, e Event) (Delivery, error) {
	d := Delivery{Event: e}
	if h.media != mediaProtobuf {
		return d, fmt.Errorf("content type: %.80q; want %s", h.media, mediaProtobuf)
	}
	body, err := readBody(r, maxDocumentBody)
	if err != nil {
		return d, err
	}
	d.Event.ContentType = mediaProtobuf
	d.Change, err = changeOf(e, body)
	return d, err
}

func changeOf(e Event, body []byte) (*Change, error) {
	var data firestoredata.DocumentEventData
	if err := (proto.UnmarshalOptions{RecursionLimit: maxMessages, DiscardUnknown: true}).Unmarshal(body, &data); err != nil {
		return nil, errors.New("data: no DocumentEventData")
	}
	before, err := firestorestore.DocumentOfEvent(data.GetOldValue())
	if err != nil {
		return nil, fmt.Errorf("old value: %w", err)
	}
	after, err := firestorestore.DocumentOfEvent(data.GetValue())
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	c := &Change{EventID: e.ID, Source: e.Source, Time: e.Time}
	switch {
	case after.Generation > 0:
		c.Ref, c.Generation, c.UpdatedBy = after.Ref, after.Generation, after.UpdatedBy
	case before.Generation > 0:
		c.Ref = before.Ref
	default:
		return nil, errors.New("data: no document on either side")
	}
	if before.Generation > 0 && before.Ref != c.Ref {
		return nil, errors.New("data: the two sides are not the same document")
	}
	if e.Subject != "" && strings.TrimPrefix(e.Subject, "documents/") != c.Ref.String() {
		return nil, errors.New("subject: names another document than the data")
	}
	c.Before, c.After = present(before), present(after)
	return c, nil
}

// present returns a document unless it is absent or a tombstone.
func present(d store.Document) *store.Document {
	if d.Generation == 0 || d.Deleted {
		return nil
	}
	return &d
}
