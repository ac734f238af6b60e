package register

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
)

// maxLapsed is how many records one sweep removes: what is left is the next one's, so that a clock that is wrong, or
// an outage that nobody noticed for a day, does not empty the registry at one blow.
const maxLapsed = 200

// sweeper is who removes them, as the journal has it.
var sweeper = registry.Call{By: auth.Principal{Subject: auth.MustSubject(Name)}, Cause: "sweep"}

// sweepLapsed removes records whose lease ended long ago.
func (s *Service) sweepLapsed(ctx context.Context, now time.Time) error {
	// What is in quarantine is kept, so nothing is removed while nobody knows what that is.
	_, err := s.trust.State(ctx)
	var removed []registry.Instance
	if err == nil {
		removed, err = s.registry.Sweep(ctx, sweeper, s.cfg.LapsedKept.Duration(), maxLapsed)
	}
	for i := range removed {
		s.deps.Logger.LogAttrs(ctx, slog.LevelInfo, "lapsed record removed", slog.String("service_id", removed[i].ServiceID),
			slog.String("service_name", removed[i].ServiceName))
	}
	s.deps.Metrics.LapsedRemoved(len(removed))
	if err != nil {
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, trust.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", events.ErrUnavailable, err)
		}
		return fmt.Errorf("lapsed records: %w", err)
	}
	s.deps.Metrics.Succeeded("lapsed_sweep", now)
	return nil
}
