// Package events is how functions hear of what has happened and say what they have done.
//
// Decode reads a delivery in every form that one comes in: a Pub/Sub push, raw or by Eventarc; a change of a
// Firestore document; a CloudEvent over HTTP. Handler makes an HTTP handler of a function of deliveries, with
// deadline, log scope and metrics, and answers so that what another attempt may mend is delivered again and
// what it cannot is recorded and acknowledged. PubSub publishes, Emitter gives what is published its source
// and its time, and Commands says who sent a command.
//
//	handler := events.Handler(func(ctx context.Context, d events.Delivery) error {
//		var shard Shard
//		if err := d.Event.Decode(&shard); err != nil {
//			return err // poison: recorded and acknowledged
//		}
//		return probe(ctx, shard) // delivered again if it fails
//	}, events.Options{Function: "HealthProbe", Now: now, Logger: logger, Metrics: metrics})
//
// Deliveries come at least once, late, in any order and several at a time.
package events

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/store"
)

// Event is a CloudEvent 1.0, or a plain message, which has no Type.
type Event struct {
	ID          string // of a plain message: the message's
	Source      string // URI reference; of a plain message: its topic or subscription
	Type        string
	Subject     string    // the id of the object; may be empty
	Time        time.Time // when it happened, in UTC; of a message that does not say: when it was published
	Data        []byte    // at most MaxData; JSON is well formed, with no name twice
	ContentType string    // media type of Data
	Auth        string    // the attribute isectechauth: an access token; never log it
	OrderingKey string    // of the message
	Attempt     int       // which delivery of the message this is; 0 where nobody counts
	Trace       string    // W3C traceparent; "" or well formed
	RequestID   string    // under which it is handled: its ID if that has the form of one
}

// Decode unmarshals the event's data, which must be one JSON value of known members; its error is poison.
func (e Event) Decode(v any) error {
	err := httpx.UnmarshalStrict(e.Data, v)
	if err == nil {
		return nil
	}
	if answer, ok := errors.AsType[*httpx.Error](err); ok {
		if faults, ok := answer.Fields["fields"].([]httpx.FieldError); ok && len(faults) > 0 {
			return Poison("data: %s", strings.TrimPrefix(faults[0].Field+": "+faults[0].Message, ": "))
		}
		return Poison("data: %s", answer.Message)
	}
	return Poison("data: %v", err)
}

// Once is the key of idempotency of a command: who sent it, source and id. None of the three has a space
// in it, so no two commands share a key.
func (e Event) Once(sender auth.Subject) string { return sender.String() + " " + e.Source + " " + e.ID }

// Cause is the event's name in journals.
func (e Event) Cause() string { return e.Source + " " + e.ID }

// Change is what happened to a stored document.
type Change struct {
	Ref     store.Ref
	Before  *store.Document // nil: absent or a tombstone
	After   *store.Document // nil: absent or a tombstone
	EventID string
	Source  string
	Time    time.Time

	// The newest state's, a tombstone's included; 0 and "" when a document was removed without one, as TTL
	// removes what has expired.
	Generation int64
	UpdatedBy  string
}

// Delivery is one event as it was delivered.
type Delivery struct {
	Event        Event     // of a document change: without data
	Change       *Change   // nil unless a document changed
	Published    time.Time // of a message: when it was published
	Subscription string    // of a message: projects/P/subscriptions/S
	MessageID    string    // of a message
}

// Age returns how long ago a delivery's event happened, or its message was published where that is longer
// ago; 0 when neither is known.
func (d Delivery) Age(now time.Time) time.Duration {
	var age time.Duration
	for _, at := range []time.Time{d.Event.Time, d.Published} {
		if !at.IsZero() {
			age = max(age, now.Sub(at))
		}
	}
	return age
}

// Errors that Handler knows; what it is given may wrap them.
var (
	// ErrPoison is an event that no attempt can do anything with.
	ErrPoison = errors.New("poison")
	// ErrStale is an event that came too late to have an effect: it is older than its age limit, or than
	// what has been done to its object.
	ErrStale = errors.New("stale")
	// ErrUnauthenticated is a command without a valid credential.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrUnavailable means that something needed is out of reach; another attempt may mend it.
	ErrUnavailable = errors.New("unavailable")
	// ErrInvalid is an event that cannot be published as it is.
	ErrInvalid = errors.New("invalid event")
)

// Poison returns an error that wraps ErrPoison and says what is wrong. The text must quote no more of the
// event than may stand in a log.
func Poison(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPoison, fmt.Errorf(format, args...))
}
