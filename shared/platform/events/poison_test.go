package events_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/googleapis/google-cloudevents-go/cloud/firestoredata"
	"google.golang.org/protobuf/proto"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/store"
)

const (
	jsonType   = "Content-Type: application/json"
	structured = "Content-Type: application/cloudevents+json"
	required   = "ce-specversion: 1.0\nce-id: 1\nce-source: s\nce-type: t\n"
)

// pushed is a raw push of a message with these members.
func pushed(members string) string {
	return `{"subscription":"projects/p/subscriptions/s","message":{"messageId":"1",` + members + `}}`
}

// attributed is a raw push of a CloudEvent with further attributes.
func attributed(more string) string {
	return pushed(`"attributes":{"ce-specversion":"1.0","ce-id":"a","ce-source":"b","ce-type":"c"` + more + `}`)
}

func poisonous() map[string]struct{ headers, body, want string } {
	long := strings.Repeat("x", 1025)
	many := &strings.Builder{}
	for i := range 101 {
		fmt.Fprintf(many, `,"k%d":""`, i)
	}
	return map[string]struct{ headers, body, want string }{
		"empty":                       {jsonType, "", "malformed JSON"},
		"null":                        {jsonType, "null", "no message"},
		"array":                       {jsonType, "[]", "wrong type"},
		"two values":                  {jsonType, pushed(`"data":""`) + "{}", "malformed JSON"},
		"no message":                  {jsonType, `{"subscription":"s"}`, "no message"},
		"message is text":             {jsonType, `{"message":"x"}`, "/message"},
		"member twice":                {jsonType, pushed(`"data":"","data":"eA=="`), "occurs twice"},
		"attribute twice":             {jsonType, pushed(`"attributes":{"a":"1","a":"2"}`), "occurs twice"},
		"unknown member twice":        {jsonType, pushed(`"x":1,"x":2`), "occurs twice"},
		"invalid UTF-8":               {jsonType, pushed("\"attributes\":{\"a\":\"\xff\"}"), "malformed JSON"},
		"too deep":                    {jsonType, strings.Repeat("[", 40) + strings.Repeat("]", 40), "deeper"},
		"attribute is a number":       {jsonType, pushed(`"attributes":{"a":1}`), "wrong type"},
		"no id":                       {jsonType, `{"message":{"data":""},"subscription":"s"}`, "message id"},
		"ids differ":                  {jsonType, pushed(`"message_id":"2"`), "message id"},
		"id with a line break":        {jsonType, `{"message":{"messageId":"1\n2"},"subscription":"s"}`, "message id"},
		"no source":                   {jsonType, `{"message":{"messageId":"1"}}`, "source"},
		"subscription with a control": {jsonType, `{"message":{"messageId":"1"},"subscription":"s\u0007"}`, "subscription"},
		"URL base64":                  {jsonType, pushed(`"data":"_-8="`), "base64"},
		"no padding":                  {jsonType, pushed(`"data":"eA"`), "base64"},
		"stray bits":                  {jsonType, pushed(`"data":"eB=="`), "base64"},
		"base64 with a line break":    {jsonType, pushed(`"data":"eA==\n"`), "base64"},
		"base64 is a number":          {jsonType, pushed(`"data":1`), "/message/data"},
		"too much data":               {jsonType, pushed(`"data":"` + strings.Repeat("AAAA", events.MaxData/3+1) + `"`), "1048576"},
		"too large":                   {jsonType, pushed(`"data":"` + strings.Repeat("A", 4<<20) + `"`), "body: more than"},
		"publish time":                {jsonType, pushed(`"publishTime":"yesterday"`), "publish time"},
		"publish times differ":        {jsonType, pushed(`"publishTime":"2026-01-04T12:00:00Z","publish_time":"2026-01-04T12:00:01Z"`), "publish time"},
		"too many attributes":         {jsonType, pushed(`"attributes":{"a":""` + many.String() + `}`), "attributes"},
		"attribute too long":          {jsonType, pushed(`"attributes":{"a":"` + long + `"}`), `attribute "a"`},
		"attribute's name too long":   {jsonType, pushed(`"attributes":{"` + long[:257] + `":""}`), "attribute"},
		"attribute without a name":    {jsonType, pushed(`"attributes":{"":""}`), "attribute"},
		"ordering key":                {jsonType, pushed(`"orderingKey":"\u0000"`), "ordering key"},
		"content types differ":        {jsonType, attributed(`,"content-type":"a/b","Content-Type":"a/c"`), "content type"},
		"tokens differ":               {jsonType, attributed(`,"isectechauth":"a","ce-isectechauth":"b"`), "isectechauth"},
		"token with a space":          {jsonType, attributed(`,"isectechauth":"a b"`), "isectechauth"},

		"half a CloudEvent":                {jsonType, pushed(`"attributes":{"ce-id":"a"}`), "specversion"},
		"version 0.3":                      {jsonType, pushed(`"attributes":{"ce-specversion":"0.3","ce-id":"a","ce-source":"b","ce-type":"c"}`), "specversion"},
		"no type":                          {jsonType, pushed(`"attributes":{"ce-specversion":"1.0","ce-id":"a","ce-source":"b"}`), "type: missing"},
		"type with a space":                {jsonType, pushed(`"attributes":{"ce-specversion":"1.0","ce-id":"a","ce-source":"b","ce-type":"c d"}`), "type"},
		"source that is no URI":            {jsonType, pushed(`"attributes":{"ce-specversion":"1.0","ce-id":"a","ce-source":"%zz","ce-type":"c"}`), "source"},
		"id of another line":               {jsonType, pushed(`"attributes":{"ce-specversion":"1.0","ce-id":"a\nb","ce-source":"b","ce-type":"c"}`), "id"},
		"id too long":                      {jsonType, pushed(`"attributes":{"ce-specversion":"1.0","ce-id":"` + long[:513] + `","ce-source":"b","ce-type":"c"}`), "id"},
		"attribute in capitals":            {jsonType, attributed(`,"CE-ID":"b"`), "CE-ID"},
		"attribute without a name of ours": {jsonType, attributed(`,"ce-":"b"`), "ce-"},
		"empty subject":                    {jsonType, attributed(`,"ce-subject":""`), "subject"},
		"subject turned around":            {jsonType, attributed(`,"ce-subject":"a\u202eb"`), "subject"},
		"time":                             {jsonType, attributed(`,"ce-time":"2026-01-04 12:00:00Z"`), "time"},
		"time with a comma":                {jsonType, attributed(`,"ce-time":"2026-01-04T12:00:00,5Z"`), "time"},
		"time before there were events":    {jsonType, attributed(`,"ce-time":"0001-01-01T00:00:00Z"`), "time"},
		"data are no JSON":                 {jsonType, attributed(`,"content-type":"application/json"},"data":"eA==","x":{"y":""`), "data: malformed JSON"},
		"a name twice in data":             {jsonType, attributed(`,"content-type":"application/json"},"data":"eyJhIjoxLCJhIjoyfQ==","x":{"y":""`), `"/a" occurs twice`},
		"JSON in another charset":          {jsonType, attributed(`,"content-type":"application/json; charset=latin1"},"data":"e30=","x":{"y":""`), "charset"},

		"content type of a push": {"Content-Type: text/plain", pushed(`"data":""`), "content type"},
		"malformed content type": {"Content-Type: ;", "", "content type"},
		"two content types":      {jsonType + "\n" + structured, "{}", "Content-Type: occurs twice"},
		"compressed":             {jsonType + "\nContent-Encoding: gzip", pushed(`"data":""`), "Content-Encoding"},
		"a batch":                {"Content-Type: application/cloudevents-batch+json", "[]", "not supported"},
		"another format":         {"Content-Type: application/cloudevents+avro", "", "not supported"},

		"header without a name":  {required + "ce-: x", "", "attribute"},
		"header twice":           {required + "ce-id: 2", "", "occurs twice"},
		"header that is no name": {required + "ce-a_b: 2", "", "a_b"},
		"header beyond ASCII":    {required + "ce-subject: \x85", "", "subject"},
		"header too long":        {required + "ce-x: " + long, "", "attribute x"},
		"content type as one":    {required + "ce-datacontenttype: a/b", "", "datacontenttype"},
		"no version":             {"ce-id: 1\nce-source: s\nce-type: t", "", "specversion"},
		"too much over HTTP":     {required, strings.Repeat("x", events.MaxData+1), "body: more than"},
		"too deep over HTTP":     {required + jsonType, strings.Repeat("[", 33) + strings.Repeat("]", 33), "data: nested deeper"},
		"no JSON over HTTP":      {required + jsonType, "{", "data: malformed JSON"},

		"structured: too deep":         {structured, `{"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, "deeper"},
		"structured: no object":        {structured, `"x"`, "JSON object"},
		"structured: null":             {structured, `null`, "JSON object"},
		"structured: twice":            {structured, `{"id":"1","id":"2"}`, "occurs twice"},
		"structured: in capitals":      {structured, `{"specversion":"1.0","id":"1","source":"s","type":"t","ID":"2"}`, "ID"},
		"structured: number for an id": {structured, `{"specversion":"1.0","id":1,"source":"s","type":"t"}`, "id"},
		"structured: object":           {structured, `{"specversion":"1.0","id":"1","source":"s","type":"t","x":{}}`, `"x"`},
		"structured: two data":         {structured, `{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":""}`, "both"},
		"structured: base64":           {structured, `{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"_"}`, "base64"},
		"structured: base64 is null":   {structured, `{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":1}`, "data_base64"},
		"structured: no id":            {structured, `{"specversion":"1.0","source":"s","type":"t"}`, "id: missing"},
		"structured: version 0.3":      {structured, `{"specversion":"0.3","id":"1","source":"s","type":"t"}`, "specversion"},

		"document as JSON":        {required + "ce-type: ignored", "", "occurs twice"},
		"document of no protobuf": {documentHeaders("application/protobuf"), "\xff\xff", "DocumentEventData"},
		"document in JSON":        {documentHeaders("application/json"), "{}", "content type"},
		"document of nothing":     {documentHeaders("application/protobuf"), "", "no document"},
		"document too large":      {documentHeaders("application/protobuf"), strings.Repeat("\x00", 5<<20), "body: more than"},
	}
}

func documentHeaders(media string) string {
	return strings.Replace(required, "ce-type: t", "ce-type: "+events.TypeDocumentWritten, 1) + "Content-Type: " + media
}

func TestPoison(t *testing.T) {
	t.Parallel()
	for name, tt := range poisonous() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := events.Decode(delivery(tt.headers, tt.body))
			if !errors.Is(err, events.ErrPoison) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want poison that says %q", err, tt.want)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			if d.Change != nil {
				t.Error("a change of poison")
			}
		})
	}
}

// What is known of poison is returned for the record.
func TestPoisonIsNamed(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*http.Request{
		"message":    delivery(jsonType, attributed(`,"ce-time":"x"`)),
		"binary":     delivery("ce-specversion: 1.0\nce-id: a\nce-source: b\nce-type: c\nce-time: x", ""),
		"structured": delivery(structured, `{"specversion":"1.0","id":"a","source":"b","type":"c","time":"x"}`),
	} {
		d, err := events.Decode(r)
		if err == nil || d.Event.ID != "a" || d.Event.Source != "b" || d.Event.Type != "c" {
			t.Errorf("%s: %+v, %v", name, d.Event, err)
		}
	}
	d, err := events.Decode(delivery(jsonType, pushed(`"data":"_"`)))
	if err == nil || d.Event.ID != "1" || d.MessageID != "1" || d.Event.Source != "//pubsub.googleapis.com/projects/p/subscriptions/s" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestPoisonousDocuments(t *testing.T) {
	t.Parallel()
	integer := &firestoredata.Value{ValueType: &firestoredata.Value_IntegerValue{IntegerValue: 1}}
	for name, tt := range map[string]struct {
		change func(d *firestoredata.DocumentEventData, h http.Header)
		want   string
	}{
		"another subject":  {func(_ *firestoredata.DocumentEventData, h http.Header) { h.Set("ce-subject", "documents/services/x") }, "subject"},
		"another document": {func(d *firestoredata.DocumentEventData, _ http.Header) { d.OldValue.Name += "x" }, "same document"},
		"another layout":   {func(d *firestoredata.DocumentEventData, _ http.Header) { d.Value.Name += "/x/y" }, "layout"},
		"another collection": {func(d *firestoredata.DocumentEventData, _ http.Header) {
			d.Value.Name = "projects/p/databases/d/documents/secrets/x"
		}, "collection"},
		"no name":            {func(d *firestoredata.DocumentEventData, _ http.Header) { d.Value.Name = "" }, "layout"},
		"no update time":     {func(d *firestoredata.DocumentEventData, _ http.Header) { d.Value.UpdateTime = nil }, "update time"},
		"no generation":      {func(d *firestoredata.DocumentEventData, _ http.Header) { delete(d.Value.Fields, "generation") }, "generation"},
		"text for who":       {func(d *firestoredata.DocumentEventData, _ http.Header) { d.Value.Fields["updated_by"] = integer }, "updated_by"},
		"a value of no type": {func(d *firestoredata.DocumentEventData, _ http.Header) { d.Value.Fields["x"] = &firestoredata.Value{} }, "type"},
		"bytes": {func(d *firestoredata.DocumentEventData, _ http.Header) {
			d.Value.Fields["x"] = &firestoredata.Value{ValueType: &firestoredata.Value_BytesValue{}}
		}, "type"},
		"a time among data": {func(d *firestoredata.DocumentEventData, _ http.Header) {
			d.Value.Fields["x"] = d.Value.Fields["updated_at"]
		}, "type"},
		"damage on the other": {func(d *firestoredata.DocumentEventData, _ http.Header) { delete(d.OldValue.Fields, "deleted") }, "old value"},
		"too deep": {func(d *firestoredata.DocumentEventData, _ http.Header) {
			v := integer
			for range 200 {
				v = &firestoredata.Value{ValueType: &firestoredata.Value_ArrayValue{ArrayValue: &firestoredata.ArrayValue{Values: []*firestoredata.Value{v}}}}
			}
			d.Value.Fields["x"] = v
		}, "DocumentEventData"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := eventstest.Written("e1", document(1, "{}"), document(2, "{}"), noon)
			if err != nil {
				t.Fatal(err)
			}
			var body bytes.Buffer
			if _, err := body.ReadFrom(r.Body); err != nil {
				t.Fatal(err)
			}
			var data firestoredata.DocumentEventData
			if err := proto.Unmarshal(body.Bytes(), &data); err != nil {
				t.Fatal(err)
			}
			tt.change(&data, r.Header)
			changed, err := proto.Marshal(&data)
			if err != nil {
				t.Fatal(err)
			}
			again := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(changed))
			again.Header = r.Header
			_, err = events.Decode(again)
			if !errors.Is(err, events.ErrPoison) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want poison that says %q", err, tt.want)
			}
		})
	}
	if err := events.Poison("x: %w", store.ErrCorrupt); !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, events.ErrPoison) {
		t.Error(err)
	}
}
