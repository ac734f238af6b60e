package register

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/security"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
)

// The names that the entry points for events are registered under.
const (
	CommandName = "RegisterCommand"
	ChangedName = "RegistryChanged"
)

// maxCommandAge is how old a command may be: what an instance asked for longer ago says nothing of it now.
const maxCommandAge = 10 * time.Minute

// registerGrace is how long after it was sent an unregister command of an instance that is not there is tried
// again: the command that registers it may be on its way.
const registerGrace = 30 * time.Second

// instanceCommand is the data of the commands that only name an instance.
type instanceCommand struct {
	ServiceID string `json:"service_id"`
}

// Commands returns the entry point for commands that come by Pub/Sub. They have the effect that the same
// calls have over HTTP, once each, and none where something asked for later has come before them.
func (s *Service) Commands() http.Handler {
	return events.Handler(s.command, events.Options{
		Function: CommandName, Now: s.deps.Now, Logger: s.deps.Logger, MaxAge: maxCommandAge,
		Timeout: s.cfg.RequestTimeout.Duration(), Unavailable: []error{store.ErrConflict},
		Metrics: s.deps.Metrics.ForFunction(CommandName, events.TypeRegister, events.TypeHeartbeat, events.TypeUnregister),
	})
}

func (s *Service) command(ctx context.Context, d events.Delivery) error {
	perform, ok := map[string]func(context.Context, registry.Call, events.Event) error{
		events.TypeRegister:   s.registerCommand,
		events.TypeHeartbeat:  s.heartbeatCommand,
		events.TypeUnregister: s.unregisterCommand,
	}[d.Event.Type]
	if !ok {
		return events.Poison("type: no command to the registry")
	}
	st, err := s.trust.State(ctx) // so that the names in force are known
	if err != nil {
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	if !s.trust.Writable(st) {
		return fmt.Errorf("%w: the policy could not be read for over a minute", events.ErrUnavailable)
	}
	commands := events.Commands{Tokens: s.guard.Tokens, Report: counted{s.emitter(CommandName), s.deps.Metrics}}
	sender, err := commands.Sender(ctx, d.Event)
	if err != nil {
		return err
	}
	if sender.Scopes, err = guard.MayCall(sender, st, writers); err != nil {
		if reportErr := commands.Refused(ctx, d.Event, sender, err); reportErr != nil {
			return reportErr
		}
		return fmt.Errorf("%w: %w", events.ErrUnauthenticated, err)
	}
	call := registry.Call{By: sender, Cause: d.Event.Cause(), Once: d.Event.Once(sender.Subject), OccurredAt: d.Event.Time}
	if now := s.deps.Now(); call.OccurredAt.After(now) {
		call.OccurredAt = now // a clock that is ahead must not outrank all that follows
	}
	err = perform(ctx, call, d.Event)
	if errors.Is(err, registry.ErrNotOwner) {
		refusal := auth.Refuse(auth.UntrustedEdge, "the record is another service's, or of another environment")
		if reportErr := commands.Refused(ctx, d.Event, sender, refusal); reportErr != nil {
			return reportErr
		}
	}
	return outcome(err)
}

// counted counts the incidents that are reported. A command that is refused is one, however often it happens: the
// report belongs to the command, and without it the command comes again.
type counted struct {
	events.Emitter
	metrics *telemetry.Metrics
}

// Security implements events.Reporter.
func (c counted) Security(ctx context.Context, id string, i security.Incident) error {
	c.metrics.SecurityEvent(string(i.Kind), string(i.Severity))
	return c.Emitter.Security(ctx, id, i)
}

// outcome says which errors no other attempt can mend.
func outcome(err error) error {
	switch {
	case err == nil, errors.Is(err, events.ErrPoison), errors.Is(err, store.ErrDuplicate):
		return err
	case errors.Is(err, registry.ErrStale), errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %w", events.ErrStale, err)
	case errors.Is(err, registry.ErrInvalid), errors.Is(err, registry.ErrNotOwner), errors.Is(err, registry.ErrTransition):
		return events.Poison("%w", err)
	default:
		return err
	}
}

func (s *Service) registerCommand(ctx context.Context, call registry.Call, e events.Event) error {
	reg, findings := registry.Decode(e.Data)
	if len(findings) > 0 {
		return events.Poison("data: %s", findings[0])
	}
	reg.ServiceName = s.canonical(reg.ServiceName)
	_, _, err := s.registry.Register(ctx, call, reg)
	return err
}

func (s *Service) heartbeatCommand(ctx context.Context, call registry.Call, e events.Event) error {
	var named instanceCommand
	if err := e.Decode(&named); err != nil {
		return err
	}
	_, err := s.registry.Heartbeat(ctx, call, named.ServiceID)
	return err
}

func (s *Service) unregisterCommand(ctx context.Context, call registry.Call, e events.Event) error {
	var named instanceCommand
	if err := e.Decode(&named); err != nil {
		return err
	}
	err := s.registry.Unregister(ctx, call, named.ServiceID)
	if errors.Is(err, store.ErrNotFound) && s.deps.Now().Sub(e.Time) < registerGrace {
		// Acknowledged now, it would leave the registration that it overtook standing.
		return fmt.Errorf("%w: %w", events.ErrUnavailable, err)
	}
	return err
}

// emitter publishes what a function of this module has to say.
func (s *Service) emitter(function string) events.Emitter {
	return events.Emitter{Function: function, Publisher: s.deps.Publisher, Now: s.deps.Now}
}
