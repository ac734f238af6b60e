package events

import (
	"encoding/json"
	"fmt"

	"github.com/isectech/service-networking/shared/platform/security"
)

// Security returns the event of an incident. id must be unique among the publisher's events; "" leaves it to
// the Emitter.
func Security(id string, incident security.Incident) (Event, error) {
	data, err := json.Marshal(incident)
	if err != nil {
		return Event{}, fmt.Errorf("%w: incident %s: %w", ErrInvalid, incident.Kind, err)
	}
	return Event{
		ID: id, Type: incident.Kind.Type(), Subject: incident.ServiceName, Time: incident.OccurredAt,
		Data: data, ContentType: "application/json",
	}, nil
}
