package events

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/platform/security"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Emitter publishes what a function has to say.
type Emitter struct {
	Function  string // as it is registered: RegistryChanged
	Publisher Publisher
	Now       func() time.Time
}

// Source returns the source of the function's events.
func (m Emitter) Source() string { return "//isectech.com/functions/" + m.Function }

// Emit publishes an event with the function's source, and now as its time and a random id where it has none.
func (m Emitter) Emit(ctx context.Context, topic string, e Event) error {
	e.Source = m.Source()
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.Time.IsZero() {
		e.Time = m.Now()
	}
	return m.Publisher.Publish(ctx, topic, e)
}

// Security publishes an incident, under an id that the same incident has again ("" for one of its own).
func (m Emitter) Security(ctx context.Context, id string, incident security.Incident) error {
	if incident.OccurredAt.IsZero() {
		incident.OccurredAt = m.Now().UTC()
	}
	if incident.RequestID == "" {
		incident.RequestID = telemetry.RequestOf(ctx).ID
	}
	e, err := Security(id, incident)
	if err != nil {
		return err
	}
	return m.Emit(ctx, TopicSecurityEvents, e)
}

// RegistryChange publishes what became of an instance: one of the types TypeService…, with the instance's
// generation in its id, so that it may be published twice and is heard of once. Those of one instance are
// delivered in order.
func (m Emitter) RegistryChange(ctx context.Context, kind, serviceID string, generation int64, at time.Time, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("%w: change of %s: %w", ErrInvalid, serviceID, err)
	}
	return m.Emit(ctx, TopicRegistryChanges, Event{
		ID: RegistryChangeID(serviceID, generation), Type: kind, Subject: serviceID, Time: at,
		Data: text, ContentType: "application/json", OrderingKey: serviceID,
	})
}

// RegistryChangeID is the id of the event that tells of an instance's generation.
func RegistryChangeID(serviceID string, generation int64) string {
	return serviceID + "@" + strconv.FormatInt(generation, 10)
}
