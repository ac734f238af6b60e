package register

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
)

// Changes returns the entry point for changes of stored records: each is told to whoever listens, and put
// where all instances of the registry see it. Pub/Sub's ticks come here too: each looks for changes whose
// event was lost.
func (s *Service) Changes() http.Handler {
	return events.Handler(s.changed, events.Options{
		Function: ChangedName, Now: s.deps.Now, Logger: s.deps.Logger, Timeout: s.cfg.RequestTimeout.Duration(),
		Metrics: s.deps.Metrics.ForFunction(ChangedName, events.TypeDocumentCreated, events.TypeDocumentUpdated,
			events.TypeDocumentDeleted, events.TypeDocumentWritten),
	})
}

func (s *Service) changed(ctx context.Context, d events.Delivery) error {
	switch {
	case d.Change != nil:
		return s.documentChanged(ctx, *d.Change)
	case d.Event.Type == "":
		return s.Sweep(ctx)
	default:
		return events.Poison("type: neither a document's change nor a tick")
	}
}

func (s *Service) documentChanged(ctx context.Context, c events.Change) error {
	if c.Ref.Collection != store.Services {
		return events.Poison("document: not of the collection %s", store.Services)
	}
	if c.Generation == 0 {
		return nil // what TTL removed had been told of when it was deleted
	}
	kind := events.TypeServiceUpdated
	switch {
	case c.After == nil:
		kind = events.TypeServiceDeleted
	case c.Before == nil:
		kind = events.TypeServiceCreated
	}
	if err := s.tell(ctx, news{kind: kind, ref: c.Ref, generation: c.Generation, at: c.Time, after: c.After, before: c.Before}); err != nil {
		return err
	}
	return s.dnsChanged(ctx, c)
}

// news is what became of a record.
type news struct {
	kind          string
	ref           store.Ref
	generation    int64
	at            time.Time
	before, after *store.Document
}

// gone is what an event says of an instance that is no more.
type gone struct {
	ServiceID   string           `json:"service_id"`
	ServiceName string           `json:"service_name,omitempty"` // where the record before is known
	Environment auth.Environment `json:"environment,omitempty"`
}

// tell publishes news, and then notes that it has: who is cut off in between tells it again, under the same
// id.
func (s *Service) tell(ctx context.Context, n news) error {
	var data any = gone{ServiceID: n.ref.ID}
	if n.after != nil {
		instance, err := registry.InstanceOf(*n.after)
		if err != nil {
			return events.Poison("%w", err)
		}
		data = instance
	} else if n.before != nil {
		if instance, err := registry.InstanceOf(*n.before); err == nil {
			data = gone{instance.ServiceID, instance.ServiceName, instance.Environment}
		}
	}
	if err := s.emitter(ChangedName).RegistryChange(ctx, n.kind, n.ref.ID, n.generation, n.at, data); err != nil {
		if errors.Is(err, events.ErrInvalid) {
			return events.Poison("%w", err)
		}
		return err
	}
	if n.after != nil {
		s.share(ctx, *n.after)
	}
	if err := s.deps.Told.Note(ctx, n.ref.ID, n.generation); err != nil {
		// The sweep will tell it once more, which nobody notices.
		s.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "published change not noted", slog.String("error", err.Error()))
	}
	return nil
}

// share puts a record where every instance looks first. Failing that they look in the store.
func (s *Service) share(ctx context.Context, doc store.Document) {
	if s.deps.Share == nil {
		return
	}
	if err := s.deps.Share(ctx, doc); err != nil {
		s.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "record not shared", slog.String("object", doc.Ref.String()), slog.String("error", err.Error()))
	}
}

// The sweep looks at what changed in the last hour, but for the latest, whose events are still on their way.
const (
	sweepBack  = time.Hour
	sweepGrace = 30 * time.Second
	sweepChunk = 500
)

// Sweep tells of changes whose events were lost: those that nobody has noted as told. Of an instance that
// changed several times it tells the latest state, as one who missed the others needs it. Then it removes what
// lapsed long ago.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.deps.Now()
	since := store.Position(now.Add(-sweepBack).UnixMicro())
	var chunk []store.Document
	for doc, err := range s.deps.Store.Changes(ctx, store.Services, since) {
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		if now.Sub(doc.UpdatedAt) < sweepGrace {
			continue
		}
		if chunk = append(chunk, doc); len(chunk) == sweepChunk {
			if err := s.sweepChunk(ctx, chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	if err := s.sweepChunk(ctx, chunk); err != nil {
		return err
	}
	s.deps.Metrics.Succeeded("registry_sweep", now)
	err := errors.Join(s.sweepLapsed(ctx, now), s.dnsSweep(ctx, now))
	s.keepCopy(ctx)
	return err
}

func (s *Service) sweepChunk(ctx context.Context, docs []store.Document) error {
	ids := make([]string, len(docs))
	for i, doc := range docs {
		ids[i] = doc.Ref.ID
	}
	told, err := s.deps.Told.Noted(ctx, ids)
	if err != nil {
		return fmt.Errorf("%w: sweep: %w", events.ErrUnavailable, err)
	}
	for i, doc := range docs {
		if told[i] >= doc.Generation {
			continue
		}
		n := news{kind: events.TypeServiceDeleted, ref: doc.Ref, generation: doc.Generation, at: doc.UpdatedAt}
		if doc.Live(s.deps.Now()) {
			n.after = &doc
			if n.kind, err = s.kindOf(ctx, doc); err != nil {
				return fmt.Errorf("%w: sweep: %w", events.ErrUnavailable, err)
			}
		}
		s.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "change told late", slog.String("object", doc.Ref.String()), slog.Int64("generation", doc.Generation))
		if err := s.tell(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// kindOf says whether the latest write made a record that was not there, or changed one.
func (s *Service) kindOf(ctx context.Context, doc store.Document) (string, error) {
	last, err := store.LastEntry(ctx, s.deps.Store, doc.Ref.String())
	if err != nil {
		return "", err
	}
	if last.Sequence == doc.Generation && last.Op == store.OpCreate {
		return events.TypeServiceCreated, nil
	}
	return events.TypeServiceUpdated, nil
}
