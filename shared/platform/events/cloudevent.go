package events

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Names of attributes.
const (
	attributePrefix = "ce-"
	specVersion     = "1.0"
	extAuth         = "isectechauth"
	extTrace        = "traceparent"
	mediaStructured = "application/cloudevents+json"
	contentTypeKey  = "content-type"
)

// attributes are a CloudEvent's context attributes by their names, but for the content type.
type attributes map[string]string

// fromBinary makes an event of attributes and data that came beside each other.
func fromBinary(attrs attributes, contentType string, data []byte) (Event, error) {
	e := Event{
		ID: attrs["id"], Source: attrs["source"], Type: attrs["type"], Subject: attrs["subject"],
		Data: data, ContentType: contentType, Auth: attrs[extAuth], Trace: traceparent(attrs[extTrace]),
	}
	if err := attrs.check(); err != nil {
		return e, err
	}
	if subject, there := attrs["subject"]; there && subject == "" {
		return e, errors.New("subject: empty")
	}
	if text, there := attrs["time"]; there {
		at, err := parseTime(text)
		if err != nil {
			return e, err
		}
		e.Time = at
	}
	if err := e.check(); err != nil {
		return e, err
	}
	if err := checkData(contentType, data); err != nil {
		return e, err
	}
	// The SDK's reading of what has been found harmless says whether it is a CloudEvent.
	header := http.Header{}
	for name, value := range attrs {
		header[textproto.CanonicalMIMEHeaderKey(attributePrefix+name)] = []string{value}
	}
	if contentType != "" {
		header["Content-Type"] = []string{contentType}
	}
	if _, err := read(header, data); err != nil {
		return e, err
	}
	return e, nil
}

// check returns what is wrong with the attributes' names and sizes.
func (attrs attributes) check() error {
	if len(attrs) > MaxAttributes {
		return fmt.Errorf("%d attributes; at most %d", len(attrs), MaxAttributes)
	}
	if version := attrs["specversion"]; version != specVersion {
		return fmt.Errorf("specversion: %.16q; want %s", version, specVersion)
	}
	for name, value := range attrs {
		if !validName(name) || name == "datacontenttype" {
			return fmt.Errorf("attribute %.64q: no name of an attribute", name)
		}
		if len(value) > maxAttributeValue {
			return fmt.Errorf("attribute %s: %d bytes; at most %d", name, len(value), maxAttributeValue)
		}
	}
	return nil
}

// validName reports whether a CloudEvents attribute may have the name: lower-case letters and digits.
func validName(name string) bool {
	if name == "" || len(name) > maxExtensionName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// read reads a CloudEvent with the SDK.
func read(header http.Header, body []byte) (*event.Event, error) {
	ev, err := cehttp.NewEventFromHTTPRequest(&http.Request{Header: header, Body: io.NopCloser(bytes.NewReader(body))})
	if err != nil {
		return nil, errors.New("not a CloudEvent")
	}
	if err := ev.Validate(); err != nil {
		return nil, fmt.Errorf("not a CloudEvent: %.120q", err.Error())
	}
	return ev, nil
}

// contextAttributes are those whose values are strings.
var contextAttributes = []string{"specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time"}

// fromStructured makes an event of its JSON form.
func fromStructured(body []byte) (Event, error) {
	if err := checkJSON(body); err != nil {
		return Event{}, err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return Event{}, errors.New("not a JSON object")
	}
	attrs := attributes{}
	for name, value := range members {
		if name == "data" || name == "data_base64" || value.Kind() == 'n' {
			continue
		}
		text, err := attributeText(name, value)
		if err != nil {
			return Event{}, err
		}
		attrs[name] = text
	}
	known := Event{ID: attrs["id"], Source: attrs["source"], Type: attrs["type"]}
	contentType, there := attrs["datacontenttype"]
	delete(attrs, "datacontenttype")
	if !there {
		contentType = "application/json" // CloudEvents JSON format §2.4
	}
	if err := attrs.check(); err != nil {
		return known, err
	}
	data, err := structuredData(members, body)
	if err != nil {
		return known, err
	}
	return fromBinary(attrs, contentType, data)
}

// attributeText returns the text of an attribute's value, which for an extension may be a boolean or a number.
func attributeText(name string, value jsontext.Value) (string, error) {
	switch kind := value.Kind(); {
	case kind == '"':
		var text string
		err := json.Unmarshal(value, &text)
		return text, jsonFault(err)
	case kind == '{' || kind == '[' || slices.Contains(contextAttributes, name):
		return "", fmt.Errorf("attribute %.64q: no string", name)
	default:
		return value.String(), nil
	}
}

// structuredData returns the data of an event in JSON form.
func structuredData(members map[string]jsontext.Value, body []byte) ([]byte, error) {
	data, plain := members["data"]
	encoded, base64 := members["data_base64"]
	switch {
	case plain && base64:
		return nil, errors.New("data: both data and data_base64")
	case base64:
		var text string
		if encoded.Kind() != '"' || json.Unmarshal(encoded, &text) != nil {
			return nil, errors.New("data_base64: no string")
		}
		return decodeBase64(text)
	case !plain || data.Kind() == 'n':
		return nil, nil
	}
	ev, err := read(http.Header{"Content-Type": {mediaStructured}}, body)
	if err != nil {
		return nil, err
	}
	if len(ev.Data()) > MaxData {
		return nil, fmt.Errorf("data: %d bytes; at most %d", len(ev.Data()), MaxData)
	}
	return ev.Data(), nil
}
