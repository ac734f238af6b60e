// Package eventstest is what tests of functions that handle and publish events need: a publisher that keeps
// what it is given, and deliveries as Pub/Sub, Eventarc and Firestore make them.
package eventstest

import (
	"context"
	"slices"
	"sync"

	"github.com/isectech/service-networking/shared/platform/events"
)

// Published is an event on its topic.
type Published struct {
	Topic string
	Event events.Event
}

// Recorder is a publisher that keeps what it is given. It refuses what Pub/Sub's would. The zero value is
// ready, and safe for concurrent use.
type Recorder struct {
	mu        sync.Mutex
	published []Published
	err       error
	failures  int
}

var _ events.Publisher = (*Recorder)(nil)

// Publish implements events.Publisher.
func (r *Recorder) Publish(ctx context.Context, topic string, e events.Event) error {
	if _, err := events.Message(topic, e); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures != 0 {
		r.failures--
		return r.err
	}
	e.Data = slices.Clone(e.Data)
	r.published = append(r.published, Published{topic, e})
	return nil
}

// Fail makes the next n events fail with err; all that follow, with n below zero.
func (r *Recorder) Fail(n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures, r.err = n, err
}

// All returns what was published, in order.
func (r *Recorder) All() []Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.published)
}

// On returns the events published on a topic, in order.
func (r *Recorder) On(topic string) []events.Event {
	var found []events.Event
	for _, p := range r.All() {
		if p.Topic == topic {
			found = append(found, p.Event)
		}
	}
	return found
}
