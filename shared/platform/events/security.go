package events

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/isectech/service-networking/shared/platform/security"
)

// Monitor returns what watches the callers of a function and publishes what it notices; without a publisher it
// is logged and counted alone.
func Monitor(function string, p Publisher, count security.Counter, now func() time.Time, logger *slog.Logger) *security.Monitor {
	o := security.Options{Counter: count, Now: now, Logger: logger}
	if p != nil {
		o.Publisher = Emitter{Function: function, Publisher: p, Now: now}
	}
	return security.NewMonitor(o)
}

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
