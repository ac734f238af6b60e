package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
)

// How much of a body is read, and of one that is larger thrown away so that its sender hears the answer.
// Pub/Sub pushes up to 10 MiB of data, in base64.
const (
	maxMessageBody  = 3 << 20 // MaxData in base64, and attributes
	maxDocumentBody = 4 << 20 // a document of at most 900 KiB twice, with what protobuf adds
	maxDrained      = 16 << 20
)

// Decode reads a delivery:
//
//   - a message published to Pub/Sub, pushed as JSON, with or without the CloudEvent that Eventarc makes of
//     it. The event is the CloudEvent inside, by the attributes ce-*, or else a plain message;
//   - a change of a Firestore document, as Eventarc brings it, in protobuf;
//   - a CloudEvent over HTTP in binary or structured mode.
//
// An error that wraps ErrPoison says what is wrong with the delivery; what is known of it is returned for
// the record. Any other error says that it could not be read, and another attempt may be.
func Decode(r *http.Request) (Delivery, error) {
	d, err := decode(r)
	var failed *readError
	if err != nil && !errors.As(err, &failed) {
		err = Poison("%w", err)
	}
	return d, err
}

func decode(r *http.Request) (Delivery, error) {
	h, err := readHead(r.Header)
	if err != nil {
		return Delivery{Event: Event{ID: h.attrs["id"], Source: h.attrs["source"], Type: h.attrs["type"]}}, err
	}
	d, err := h.decode(r)
	d.Event.Trace = cmp.Or(d.Event.Trace, traceparent(h.attrs[extTrace]), h.trace)
	return d, err
}

// head is what a delivery's headers say.
type head struct {
	attrs       attributes // of ce-* headers
	contentType string
	media       string // of contentType
	trace       string
}

// readHead reads the headers. What is known is returned with an error too.
func readHead(h http.Header) (head, error) {
	found := head{attrs: attributes{}}
	var wrong error
	for name, values := range h {
		bare, ok := strings.CutPrefix(strings.ToLower(name), attributePrefix)
		if !ok {
			continue
		}
		switch _, twice := found.attrs[bare]; {
		case len(values) != 1 || twice:
			wrong = fmt.Errorf("header ce-%.64q: occurs twice", bare)
		case strings.ContainsFunc(values[0], func(r rune) bool { return r < ' ' || r > '~' }):
			wrong = fmt.Errorf("header ce-%.64q: not plain ASCII", bare)
		default:
			found.attrs[bare] = values[0]
		}
	}
	if wrong != nil {
		return found, wrong
	}
	if encoding := h.Values("Content-Encoding"); len(encoding) > 0 {
		return found, errors.New("header Content-Encoding: not supported")
	}
	if v := h.Values("Traceparent"); len(v) == 1 {
		found.trace = traceparent(v[0])
	}
	switch types := h.Values("Content-Type"); len(types) {
	case 0:
	case 1:
		found.contentType = types[0]
		var err error
		if found.media, _, err = mime.ParseMediaType(types[0]); err != nil {
			return found, errors.New("content type: malformed")
		}
	default:
		return found, errors.New("header Content-Type: occurs twice")
	}
	return found, nil
}

// decode reads the body as the headers say.
func (h head) decode(r *http.Request) (Delivery, error) {
	if h.media == mediaStructured {
		body, err := readBody(r, maxMessageBody)
		if err != nil {
			return Delivery{}, err
		}
		e, err := fromStructured(body)
		return Delivery{Event: e}, err
	}
	if strings.HasPrefix(h.media, "application/cloudevents") {
		return Delivery{}, fmt.Errorf("content type: %.80q is not supported", h.media)
	}
	if len(h.attrs) == 0 {
		return h.decodePush(r, "")
	}
	kind := strings.TrimSuffix(h.attrs["type"], withAuthContext)
	if kind != typeMessage && !slices.Contains(documentTypes, kind) {
		body, err := readBody(r, MaxData)
		if err != nil {
			return Delivery{Event: Event{ID: h.attrs["id"], Source: h.attrs["source"], Type: h.attrs["type"]}}, err
		}
		e, err := fromBinary(h.attrs, h.contentType, body)
		return Delivery{Event: e}, err
	}
	outer, err := fromBinary(h.attrs, "", nil)
	if err != nil {
		return Delivery{Event: outer}, err
	}
	if kind == typeMessage {
		return h.decodePush(r, outer.Source)
	}
	return h.decodeDocument(r, outer)
}

func (h head) decodePush(r *http.Request, topic string) (Delivery, error) {
	if h.media != "" && h.media != "application/json" {
		return Delivery{}, fmt.Errorf("content type: %.80q; want application/json", h.media)
	}
	body, err := readBody(r, maxMessageBody)
	if err != nil {
		return Delivery{Event: Event{Source: topic}}, err
	}
	return decodePush(body, topic)
}

// readError is a body that did not come in whole: nothing is wrong with the event.
type readError struct{ err error }

func (e *readError) Error() string { return "read the delivery: " + e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err == nil && len(body) == 0:
		return nil, nil
	case err == nil && int64(len(body)) <= limit:
		return body, nil
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, r.Body, maxDrained)
		if err == nil || errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("body: more than %d bytes", limit)
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("body: more than %d bytes", tooLarge.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return nil, &readError{err}
}
