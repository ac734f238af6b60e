package register

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/isectech/service-networking/functions/register/clouddns"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/zone"
	"github.com/isectech/service-networking/shared/store"
)

// DNS is the managed zone that shows where services are.
type DNS interface {
	// All returns all sets of records, Under those of an alias and below it.
	All(ctx context.Context) ([]zone.Set, error)
	Under(ctx context.Context, alias string) ([]zone.Set, error)
	// Apply makes a change whole or not at all; clouddns.ErrConflict where the zone is not as the change says.
	Apply(ctx context.Context, c zone.Change) error
}

// maxPlans bounds how often a change is planned anew because somebody else changed the zone first.
const maxPlans = 4

// dnsChanged brings the zone in step with a change of a record, and returns an error where another attempt may mend
// what failed. What none may is left to the sweep, which tells of it every time.
func (s *Service) dnsChanged(ctx context.Context, c events.Change) error {
	if s.deps.DNS == nil {
		return nil
	}
	var services []string
	for _, doc := range []*store.Document{c.Before, c.After} {
		if doc == nil {
			continue
		}
		i, err := registry.InstanceOf(*doc)
		if err == nil && i.Environment == s.cfg.Environment && !slices.Contains(services, i.ServiceName) {
			services = append(services, i.ServiceName)
		}
	}
	for _, name := range services {
		err := s.zones.do(ctx, name, func(ctx context.Context) error { return s.syncService(ctx, name) })
		switch {
		case err == nil:
		case retryable(err):
			return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		default:
			s.deps.Logger.LogAttrs(ctx, slog.LevelError, "zone not in step", slog.String("service_name", name), slog.String("error", err.Error()))
		}
	}
	return nil
}

// dnsSweep brings the whole zone in step. It fails alone: the sweep has told of what it found by then.
func (s *Service) dnsSweep(ctx context.Context, now time.Time) error {
	if s.deps.DNS == nil {
		return nil
	}
	if err := s.zones.do(ctx, "", s.syncZone); err != nil {
		if retryable(err) {
			err = fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		return fmt.Errorf("zone: %w", err)
	}
	s.deps.Metrics.Succeeded("dns_sweep", now)
	return nil
}

func retryable(err error) bool {
	for _, known := range []error{clouddns.ErrUnavailable, clouddns.ErrConflict, store.ErrUnavailable, trust.ErrUnavailable, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// syncService brings the aliases of one service in step. The zone is read before the registry: what someone else has
// written to it meanwhile rests on no later state of the registry, or makes the change conflict.
func (s *Service) syncService(ctx context.Context, name string) error {
	st, err := s.trust.State(ctx)
	if err != nil {
		return err
	}
	subject, _ := st.Resolve(name)
	service, ok := st.Policy.Service(subject)
	if !ok {
		return nil // the sweep removes what is left of it
	}
	for _, alias := range service.Aliases {
		err := s.planned(func() error {
			current, err := s.deps.DNS.Under(ctx, alias)
			if err != nil {
				return err
			}
			view, err := s.latest.Whole(ctx)
			if err != nil {
				return err
			}
			return s.step(ctx, alias, current, s.wanted(view, alias, name))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// syncZone brings the whole zone in step: what time has changed, of which no event tells, such as a lease that has
// ended or a quarantine; and what is left of names that there are no more.
func (s *Service) syncZone(ctx context.Context) error {
	st, err := s.trust.State(ctx)
	if err != nil {
		return err
	}
	return s.planned(func() error {
		sets, err := s.deps.DNS.All(ctx)
		if err != nil {
			return err
		}
		current, owners := make(map[string][]zone.Set), make(map[string]string) // by alias
		for _, set := range sets {
			if alias, ok := zone.Alias(set.Name); ok {
				current[alias] = append(current[alias], set)
			}
			if alias, ok := zone.Marked(set, s.cfg.Environment); ok {
				owners[alias] = ""
			}
		}
		for service := range st.Policy.Services() {
			for _, alias := range service.Aliases {
				owners[alias] = service.Subject.String()
			}
		}
		view, err := s.latest.Whole(ctx)
		if err != nil {
			return err
		}
		var failed []error // an alias that cannot be published keeps no other from it
		for alias, name := range owners {
			err := s.step(ctx, alias, current[alias], s.wanted(view, alias, name))
			if errors.Is(err, clouddns.ErrUnavailable) {
				return err
			}
			failed = append(failed, err)
		}
		return errors.Join(failed...)
	})
}

// planned does what plans a change and makes it, until nobody else comes first.
func (s *Service) planned(do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if !errors.Is(err, clouddns.ErrConflict) || attempt == maxPlans {
			return err
		}
	}
}

// wanted is what the zone should hold of an alias: nothing where it is no service's.
func (s *Service) wanted(view registry.View, alias, name string) []zone.Set {
	if name == "" {
		return nil
	}
	return zone.Records(alias, s.cfg.Environment, s.cfg.dnsTTL(), view.Serving(s.cfg.Environment, name))
}

// step makes the change of one alias that leads from what is to what is wanted.
func (s *Service) step(ctx context.Context, alias string, current, wanted []zone.Set) error {
	change, foreign := zone.Plan(alias, s.cfg.Environment, current, wanted)
	for _, k := range foreign {
		s.deps.Metrics.DNSChange("foreign")
		s.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "records of the zone are not the registry's", slog.String("name", k.Name), slog.String("type", k.Type))
	}
	if change.Empty() {
		s.deps.Metrics.DNSChange("unchanged")
		return nil
	}
	err := s.deps.DNS.Apply(ctx, change)
	switch {
	case err == nil:
		s.deps.Metrics.DNSChange("applied")
		s.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "zone changed", slog.String("name", zone.Name(alias)),
			slog.Int("deletions", len(change.Deletions)), slog.Int("additions", len(change.Additions)))
	case errors.Is(err, clouddns.ErrConflict):
		s.deps.Metrics.DNSChange("conflict")
	case errors.Is(err, clouddns.ErrUnavailable):
		s.deps.Metrics.DNSChange("unavailable")
	default:
		s.deps.Metrics.DNSChange("failed")
	}
	return err
}

// Zone returns what the zone holds of an alias, from the registry as it is now: nothing of one that is no service's.
// version grows with the registry.
func (s *Service) Zone(ctx context.Context, alias string) (sets []zone.Set, version int64, err error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return nil, 0, err
	}
	view, err := s.registry.View(ctx)
	if err != nil {
		return nil, 0, err
	}
	subject, ok := st.Resolve(alias)
	if !ok || alias == subject.String() && alias != subject.Alias() { // the full name is no alias
		return nil, view.Index(), nil
	}
	sets = s.wanted(view, alias, subject.String())
	if marked, _ := zone.Plan(alias, s.cfg.Environment, nil, sets); !marked.Empty() {
		sets = marked.Additions // with the mark
	}
	return sets, view.Index(), nil
}

// latestOptions make a registry whose every reading covers all that was committed before it: the zone must not be led
// back by one who knew less.
func latestOptions(o registry.Options) registry.Options {
	o.Freshness, o.MaxStale, o.Version = 1, 1, nil
	return o
}
