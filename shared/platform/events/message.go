package events

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// push is the body of a Pub/Sub push. Members that are not here are none of ours; Google may add some.
type push struct {
	Message         *message `json:"message"`
	Subscription    string   `json:"subscription"`
	DeliveryAttempt int      `json:"deliveryAttempt"`
}

// message is a Pub/Sub message as a push carries it: some members come in two spellings.
type message struct {
	Data             string            `json:"data"`
	Attributes       map[string]string `json:"attributes"`
	MessageID        string            `json:"messageId"`
	MessageIDSnake   string            `json:"message_id"`
	PublishTime      string            `json:"publishTime"`
	PublishTimeSnake string            `json:"publish_time"`
	OrderingKey      string            `json:"orderingKey"`
	OrderingKeySnake string            `json:"ordering_key"`
}

// decodePush reads a push. topic is the source that Eventarc gives, "" for a raw push.
func decodePush(body []byte, topic string) (Delivery, error) {
	if depth(body) > maxDepth {
		return Delivery{}, fmt.Errorf("push: nested deeper than %d", maxDepth)
	}
	var p push
	if err := jsonFault(json.Unmarshal(body, &p)); err != nil {
		return Delivery{}, fmt.Errorf("push: %w", err)
	}
	if p.Message == nil {
		return Delivery{}, errors.New("push: no message")
	}
	d := Delivery{Subscription: p.Subscription}
	if err := checkText("subscription", p.Subscription, maxAttributeValue); err != nil {
		return Delivery{}, err
	}
	if topic == "" && p.Subscription != "" {
		topic = "//pubsub.googleapis.com/" + p.Subscription
	}
	d.MessageID = cmp.Or(p.Message.MessageID, p.Message.MessageIDSnake)
	var err error
	d.Event, d.Published, err = p.Message.event(topic)
	d.Event.Attempt = max(p.DeliveryAttempt, 0)
	return d, err
}

// event returns the message's event and when it was published. With an error the event is what is known of
// it, for the record.
func (m *message) event(source string) (Event, time.Time, error) {
	e := Event{ID: cmp.Or(m.MessageID, m.MessageIDSnake), Source: source}
	published, err := m.published()
	if err != nil {
		return e, published, err
	}
	if _, err := same("message id", m.MessageID, m.MessageIDSnake); err != nil {
		return e, published, err
	}
	if err := checkToken("message id", e.ID, maxID); err != nil {
		return e, published, err
	}
	attrs, err := m.attributes()
	if err != nil {
		return e, published, err
	}
	data, err := decodeBase64(m.Data)
	if err != nil {
		return e, published, err
	}
	if len(attrs.cloud) > 0 {
		found, err := fromBinary(attrs.cloud, attrs.contentType, data)
		if err != nil {
			found.ID, found.Source = cmp.Or(found.ID, e.ID), cmp.Or(found.Source, e.Source)
			return found, published, err
		}
		e = found
	} else {
		if err := checkToken("source", source, maxAttributeValue); err != nil {
			return e, published, err
		}
		e.Data, e.ContentType = data, attrs.contentType
	}
	e.Auth = attrs.auth
	e.Trace = cmp.Or(e.Trace, traceparent(attrs.trace))
	if e.Time.IsZero() {
		e.Time = published
	}
	e.OrderingKey, err = same("ordering key", m.OrderingKey, m.OrderingKeySnake)
	if err != nil {
		return e, published, err
	}
	return e, published, e.checkRest()
}

func (m *message) published() (time.Time, error) {
	text, err := same("publish time", m.PublishTime, m.PublishTimeSnake)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	at, err := parseTime(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("publish %w", err)
	}
	return at, nil
}

// messageAttributes are a message's attributes by what they are.
type messageAttributes struct {
	cloud       attributes // those of a CloudEvent, by their names
	contentType string
	auth, trace string
}

func (m *message) attributes() (messageAttributes, error) {
	found := messageAttributes{cloud: attributes{}}
	if len(m.Attributes) > MaxAttributes {
		return found, fmt.Errorf("%d attributes; at most %d", len(m.Attributes), MaxAttributes)
	}
	for name, value := range m.Attributes {
		if name == "" || len(name) > maxAttributeName || len(value) > maxAttributeValue {
			return found, fmt.Errorf("attribute %.64q: a name of 1 to %d and a value of at most %d bytes",
				name, maxAttributeName, maxAttributeValue)
		}
		if bare, ok := strings.CutPrefix(strings.ToLower(name), attributePrefix); ok {
			if !validName(bare) || name != attributePrefix+bare {
				return found, fmt.Errorf("attribute %.64q: no name of an attribute", name)
			}
			found.cloud[bare] = value
		}
	}
	var err error
	// The CloudEvents SDK writes the second spelling.
	if found.contentType, err = same("content type", m.Attributes[contentTypeKey], m.Attributes["Content-Type"]); err != nil {
		return found, err
	}
	if bare, ok := found.cloud["datacontenttype"]; ok {
		delete(found.cloud, "datacontenttype")
		if found.contentType, err = same("content type", found.contentType, bare); err != nil {
			return found, err
		}
	}
	if found.auth, err = same(extAuth, m.Attributes[extAuth], found.cloud[extAuth]); err != nil {
		return found, err
	}
	found.trace = cmp.Or(m.Attributes[extTrace], m.Attributes["googclient_traceparent"]) // what Google's clients write
	return found, nil
}

// same returns the value that one or both of two spellings have.
func same(name, a, b string) (string, error) {
	if a != "" && b != "" && a != b {
		return "", fmt.Errorf("%s: two that differ", name)
	}
	return cmp.Or(a, b), nil
}

// decodeBase64 decodes standard base64 with padding (RFC 4648 §4) that has one spelling: no line breaks, no
// stray bits.
func decodeBase64(s string) ([]byte, error) {
	if base64.StdEncoding.DecodedLen(len(s)) > MaxData+2 {
		return nil, fmt.Errorf("data: more than %d bytes", MaxData)
	}
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("data: malformed base64")
	}
	data, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("data: malformed base64")
	}
	if len(data) == 0 {
		return nil, nil
	}
	return data, nil
}
