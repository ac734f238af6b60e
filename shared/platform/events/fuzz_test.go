package events_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/store"
)

// FuzzDecode holds Decode to: no panic; an error is poison; what is decoded is within the bounds, and, where it
// can be published again, comes back as it was.
func FuzzDecode(f *testing.F) {
	for _, tt := range poisonous() {
		if len(tt.body) < 1<<12 {
			f.Add(tt.headers, []byte(tt.body))
		}
	}
	f.Add(eventarcHeaders, []byte(commandBody))
	f.Add(jsonType, []byte(commandBody))
	f.Add(required, []byte("x"))
	f.Add(structured, []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":1}}`))
	changed, err := eventstest.Written("e1", document(1, `{"a":[1,{"b":2.5}]}`), document(2, `{}`), noon)
	if err != nil {
		f.Fatal(err)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(changed.Body); err != nil {
		f.Fatal(err)
	}
	f.Add(documentHeaders("application/protobuf"), body.Bytes())
	f.Fuzz(func(t *testing.T, headers string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		for line := range strings.Lines(headers) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				r.Header.Add(name, strings.TrimSpace(value))
			}
		}
		d, err := events.Decode(r)
		if err != nil {
			if !errors.Is(err, events.ErrPoison) {
				t.Fatalf("neither read nor poison: %v", err)
			}
			return
		}
		if d.Event.ID == "" || d.Event.Source == "" || len(d.Event.Data) > events.MaxData {
			t.Fatalf("%+v", d.Event)
		}
		if d.Change != nil {
			if err := d.Change.Ref.Validate(); err != nil {
				t.Fatal(err)
			}
			return
		}
		if d.Event.Type == "" {
			return
		}
		batch := store.Batch{
			Actor: "a", Cause: d.Event.Cause(), Once: d.Event.Once(auth.MustSubject(backend)),
			Writes: []store.Write{{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{}}},
		}
		if err := store.Validate(batch); err != nil {
			t.Fatalf("no commit could name it: %v", err)
		}
		again, err := eventstest.Push(events.TopicRegistryCommands, d.Event, "1", time.Unix(0, 0))
		if err != nil {
			t.Fatalf("decoded and not publishable: %v", err)
		}
		back, err := events.Decode(again)
		if err != nil {
			t.Fatalf("published and not decodable: %v", err)
		}
		want := d.Event
		want.Attempt = 0
		if want.Time.IsZero() {
			back.Event.Time = time.Time{}
		}
		if diff := cmp.Diff(want, back.Event); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}
