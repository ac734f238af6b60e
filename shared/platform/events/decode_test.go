package events_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/store"
)

const (
	parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	outer  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

var noon = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

// delivery makes a request of headers, one a line, and a body.
func delivery(headers, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for line := range strings.Lines(headers) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			r.Header.Add(name, value)
		}
	}
	return r
}

const eventarcHeaders = `
	Content-Type: application/json
	ce-id: 2070443601311540
	ce-specversion: 1.0
	ce-type: google.cloud.pubsub.topic.v1.messagePublished
	ce-source: //pubsub.googleapis.com/projects/isectech-security-platform/topics/isectech-registry-commands
	ce-time: 2026-01-04T12:00:00.789Z
	traceparent: ` + outer

const commandBody = `{
  "deliveryAttempt": 3,
  "message": {
    "attributes": {
      "ce-specversion": "1.0", "ce-id": "7f0c", "ce-source": "//isectech.com/services/backend-services-001",
      "ce-type": "com.isectech.registry.heartbeat.v1", "ce-subject": "backend-services-001",
      "ce-time": "2026-01-04T11:59:59.5+00:00", "content-type": "application/json",
      "traceparent": "` + parent + `", "isectechauth": "a.b.c"
    },
    "data": "eyJzZXJ2aWNlX2lkIjoiYmFja2VuZC1zZXJ2aWNlcy0wMDEifQ==",
    "messageId": "2070443601311540", "message_id": "2070443601311540",
    "publishTime": "2026-01-04T12:00:00.789Z", "publish_time": "2026-01-04T12:00:00.789Z",
    "orderingKey": "backend-services-001"
  },
  "subscription": "projects/isectech-security-platform/subscriptions/eventarc-us-central1-register-command-sub-042"
}`

func command() events.Event {
	return events.Event{
		ID: "7f0c", Source: "//isectech.com/services/backend-services-001", Type: events.TypeHeartbeat,
		Subject: "backend-services-001", Time: noon.Add(-500 * time.Millisecond),
		Data: []byte(`{"service_id":"backend-services-001"}`), ContentType: "application/json", Auth: "a.b.c",
		OrderingKey: "backend-services-001", Attempt: 3, Trace: parent,
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	published := noon.Add(789 * time.Millisecond)
	eventarcCommand := events.Delivery{
		Event: command(), Published: published, MessageID: "2070443601311540",
		Subscription: "projects/isectech-security-platform/subscriptions/eventarc-us-central1-register-command-sub-042",
	}
	overHTTP := command()
	overHTTP.OrderingKey, overHTTP.Attempt = "", 0
	binary := `
		Content-Type: application/json
		ce-specversion: 1.0
		ce-id: 7f0c
		ce-source: //isectech.com/services/backend-services-001
		ce-type: com.isectech.registry.heartbeat.v1
		ce-subject: backend-services-001
		ce-time: 2026-01-04T11:59:59.5Z
		ce-traceparent: ` + parent + `
		ce-isectechauth: a.b.c`
	for name, tt := range map[string]struct {
		headers, body string
		want          events.Delivery
	}{
		"Eventarc's Pub/Sub event with our CloudEvent inside": {eventarcHeaders, commandBody, eventarcCommand},
		"raw push with our CloudEvent inside":                 {"Content-Type: application/json", commandBody, eventarcCommand},
		"Eventarc's Pub/Sub event of the Scheduler": {eventarcHeaders, `{"message":{"data":"dGljaw==","messageId":"11","message_id":"11",
			"publishTime":"2026-01-04T12:00:00.789Z","publish_time":"2026-01-04T12:00:00.789Z"},"subscription":"projects/p/subscriptions/s"}`,
			events.Delivery{
				Event: events.Event{
					ID: "11", Source: "//pubsub.googleapis.com/projects/isectech-security-platform/topics/isectech-registry-commands",
					Time: published, Data: []byte("tick"), Trace: outer,
				},
				Published: published, MessageID: "11", Subscription: "projects/p/subscriptions/s",
			}},
		"raw push of the emulator, which knows fewer members": {"Content-Type: application/json",
			`{"subscription":"projects/p/subscriptions/s","message":{"data":"","messageId":"1","attributes":{"x":"y"}}}`,
			events.Delivery{
				Event:     events.Event{ID: "1", Source: "//pubsub.googleapis.com/projects/p/subscriptions/s"},
				MessageID: "1", Subscription: "projects/p/subscriptions/s",
			}},
		"attributes as the CloudEvents SDK spells them": {"Content-Type: application/json",
			`{"subscription":"projects/p/subscriptions/s","message":{"data":"e30=","messageId":"1","publishTime":"2026-01-04T12:00:00Z","attributes":{
				"ce-specversion":"1.0","ce-id":"a","ce-source":"/b","ce-type":"c","Content-Type":"application/json","ce-isectechauth":"t","googclient_traceparent":"` + parent + `"}}}`,
			events.Delivery{
				Event: events.Event{
					ID: "a", Source: "/b", Type: "c", Time: noon, Data: []byte("{}"), ContentType: "application/json", Auth: "t", Trace: parent,
				},
				Published: noon, MessageID: "1", Subscription: "projects/p/subscriptions/s",
			}},
		"CloudEvent in binary mode": {binary, `{"service_id":"backend-services-001"}`, events.Delivery{Event: overHTTP}},
		"CloudEvent in structured mode": {"Content-Type: application/cloudevents+json; charset=utf-8", `{
			"specversion":"1.0","id":"7f0c","source":"//isectech.com/services/backend-services-001","type":"com.isectech.registry.heartbeat.v1",
			"subject":"backend-services-001","time":"2026-01-04T11:59:59.5Z","datacontenttype":"application/json","isectechauth":"a.b.c",
			"traceparent":"` + parent + `","data":{"service_id":"backend-services-001"}}`, events.Delivery{Event: overHTTP}},
		"CloudEvent in structured mode with base64": {"Content-Type: application/cloudevents+json", `{"data_base64":"AAH/","datacontenttype":"application/octet-stream",
			"number":1,"truth":true,"nothing":null,"specversion":"1.0","id":"1","source":"s","type":"t"}`,
			events.Delivery{Event: events.Event{ID: "1", Source: "s", Type: "t", Data: []byte{0, 1, 255}, ContentType: "application/octet-stream"}}},
		"CloudEvent without data": {"ce-specversion: 1.0\nce-id: 1\nce-source: s\nce-type: t\ntraceparent: " + outer, "",
			events.Delivery{Event: events.Event{ID: "1", Source: "s", Type: "t", Trace: outer}}},
		"a malformed traceparent is ignored": {"ce-specversion: 1.0\nce-id: 1\nce-source: s\nce-type: t\nce-traceparent: 00-xyz", "",
			events.Delivery{Event: events.Event{ID: "1", Source: "s", Type: "t"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := events.Decode(delivery(tt.headers, tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What the CloudEvents SDK sends, in either mode, is what was meant.
func TestDecodeOfSDK(t *testing.T) {
	t.Parallel()
	ev := event.New()
	ev.SetID("7f0c")
	ev.SetSource("//isectech.com/services/backend-services-001")
	ev.SetType(events.TypeHeartbeat)
	ev.SetSubject("backend-services-001")
	ev.SetTime(noon.Add(-500 * time.Millisecond))
	ev.SetExtension("isectechauth", "a.b.c")
	ev.SetExtension("traceparent", parent)
	if err := ev.SetData("application/json", map[string]string{"service_id": "backend-services-001"}); err != nil {
		t.Fatal(err)
	}
	want := command()
	want.OrderingKey, want.Attempt = "", 0
	binary, err := cehttp.NewHTTPRequestFromEvent(t.Context(), "http://127.0.0.1/", ev)
	if err != nil {
		t.Fatal(err)
	}
	structured, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*http.Request{
		"binary": binary, "structured": delivery("Content-Type: application/cloudevents+json", string(structured)),
	} {
		got, err := events.Decode(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got.Event); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeOfMessage(t *testing.T) {
	t.Parallel()
	for name, deliver := range map[string]func(string, events.Event, string, time.Time) (*http.Request, error){
		"push": eventstest.Push, "eventarc": eventstest.Eventarc,
	} {
		want := command()
		want.Attempt = 0
		r, err := deliver(events.TopicRegistryCommands, want, "9", noon)
		if err != nil {
			t.Fatal(err)
		}
		got, err := events.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Event); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// The longest usual token fits into what Pub/Sub takes as an attribute.
func TestTokenFitsAttribute(t *testing.T) {
	t.Parallel()
	claims := authtest.Claims("isectech-backend-services", auth.PlatformAudience, auth.APIRead|auth.APIWrite|auth.ServiceDiscover)
	claims.ServiceID = "backend-services-production-us-central1-001"
	claims.Thumbprint = base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	raw := authtest.NewAuthority(t, token.ES256).Token(t, claims)
	e := command()
	e.Auth = raw
	if _, err := events.Message(events.TopicRegistryCommands, e); err != nil {
		t.Errorf("a token of %d bytes: %v", len(raw), err)
	}
}

func document(generation int64, data string) *store.Document {
	return &store.Document{
		Ref: store.Ref{Collection: store.Services, ID: "backend-services-001"}, Generation: generation, UpdatedAt: noon,
		UpdatedBy: "isectech-backend-services", Head: "abc", Data: json.RawMessage(data),
	}
}

func TestDecodeDocument(t *testing.T) {
	t.Parallel()
	one, two := document(1, `{"weight":1}`), document(2, `{"a":[1,2.5,null,true,{"b":"c"}],"weight":1}`)
	two.ExpiresAt = noon.Add(time.Hour)
	gone := document(3, "")
	gone.Deleted, gone.Data = true, nil
	for name, tt := range map[string]struct {
		before, after *store.Document
		want          events.Change
	}{
		"created":             {nil, one, events.Change{After: one, Generation: 1}},
		"updated":             {one, two, events.Change{Before: one, After: two, Generation: 2}},
		"made a tombstone":    {two, gone, events.Change{Before: two, Generation: 3}},
		"made anew":           {gone, document(4, "{}"), events.Change{After: document(4, "{}"), Generation: 4}},
		"removed by TTL":      {two, nil, events.Change{Before: two}},
		"tombstone was swept": {gone, nil, events.Change{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := eventstest.Written("e1", tt.before, tt.after, noon)
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Ref, tt.want.EventID, tt.want.Time = one.Ref, "e1", noon
			tt.want.Source = "//firestore.googleapis.com/projects/isectech-test/databases/(default)"
			if tt.after != nil {
				tt.want.UpdatedBy = one.UpdatedBy
			}
			if diff := cmp.Diff(&tt.want, got.Change); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Event.ID != "e1" || got.Event.Data != nil || got.Event.Subject != "documents/services/backend-services-001" {
				t.Errorf("event %+v", got.Event)
			}
		})
	}
}

// Eventarc names who wrote where it was asked to; nothing here depends on it.
func TestDecodeDocumentWithAuthContext(t *testing.T) {
	t.Parallel()
	r, err := eventstest.Written("e1", nil, document(1, "{}"), noon)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("ce-type", events.TypeDocumentCreated+".withAuthContext")
	r.Header.Set("ce-authtype", "service_account")
	r.Header.Set("ce-authid", "register@isectech-test.iam.gserviceaccount.com")
	d, err := events.Decode(r)
	if err != nil || d.Change == nil || d.Change.After == nil || d.Event.Auth != "" {
		t.Errorf("%+v, %v", d, err)
	}
}

// A body that breaks off is no fault of the event's.
func TestDecodeBrokenBody(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	for _, media := range []string{"application/json", "application/cloudevents+json"} {
		r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(`{"mess`), failing{broken}))
		r.Header.Set("Content-Type", media)
		if _, err := events.Decode(r); !errors.Is(err, broken) || errors.Is(err, events.ErrPoison) {
			t.Errorf("%s: %v", media, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
