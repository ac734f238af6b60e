package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

// Errors of Registry, beside ErrNotOwner, ErrTransition and those of package store: ErrNotFound,
// ErrUnavailable and ErrConflict (always a *store.ConflictError).
var (
	ErrInvalid      = errors.New("invalid")             // see InvalidError
	ErrPrecondition = errors.New("precondition failed") // see PreconditionError
)

// InvalidError says what is wrong with a registration or patch. It unwraps to ErrInvalid.
type InvalidError struct{ Findings []Finding }

// Error returns the first finding.
func (e *InvalidError) Error() string {
	if len(e.Findings) == 0 {
		return ErrInvalid.Error()
	}
	return fmt.Sprintf("%s: %s (%d findings)", ErrInvalid, e.Findings[0], len(e.Findings))
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Unwrap() error { return ErrInvalid }

// PreconditionError says that the record has not the generation that the caller expected. It unwraps to
// ErrPrecondition.
type PreconditionError struct{ Generation int64 } // the current one; 0 where there is no record

// Error names the current generation.
func (e *PreconditionError) Error() string {
	return fmt.Sprintf("%s: generation is %d", ErrPrecondition, e.Generation)
}

// Unwrap makes errors.Is(err, ErrPrecondition) true.
func (e *PreconditionError) Unwrap() error { return ErrPrecondition }

// Options are what a Registry is made of. Store, Names and Now are required.
type Options struct {
	Store store.Store
	// Names returns the names in force, or nil while they are not known: then nothing can be registered,
	// and names are looked up among the instances there are.
	Names         func() Names
	Now           func() time.Time
	AllowLoopback bool          // see Rules
	MinInterval   time.Duration // see Rules
	Freshness     time.Duration // a snapshot younger than this is served as it is; 0 means 1 second
	MaxStale      time.Duration // one older than this is not served; 0 means 24 hours
	ReadTimeout   time.Duration // of one refresh; 0 means 10 seconds
	OnError       func(error)   // told of documents that cannot be read; nil: no one is
	// Isolation returns which services are in quarantine; nil, or what it returns: none is.
	Isolation func(ctx context.Context) Isolation
	// Version, where there is one, returns a text that changes with every change of a record, at little cost:
	// while it stays the same the records are not read, though at least every fifth time all the same. ok is
	// false while it is not known.
	Version func(ctx context.Context) (version string, ok bool)
	// Copy, where there is one, returns all records as they were at a position of the store's feed, for the first
	// reading: then only what came after it is read. Its error means that there is none to be relied on.
	Copy func(ctx context.Context) ([]store.Document, store.Position, error)
}

// Registry performs registrations on a store and answers reads from a snapshot of it. It is safe for
// concurrent use, and any number of them may share a store.
type Registry struct {
	store     store.Store
	names     func() Names
	isolation func(context.Context) Isolation
	now       func() time.Time
	rules     Rules // without names
	cache     *cache
	fresh     freshness
}

// New returns a Registry. It reads nothing yet.
func New(o Options) *Registry {
	onError := o.OnError
	if onError == nil {
		onError = func(error) {}
	}
	r := &Registry{
		store: o.Store, names: o.Names, isolation: o.Isolation, now: o.Now,
		rules: Rules{AllowLoopback: o.AllowLoopback, MinInterval: o.MinInterval},
		cache: newCache(o.Store, onError),
	}
	r.cache.version, r.cache.copy = o.Version, o.Copy
	r.fresh.cache = r.cache
	r.fresh.bound = orElse(o.Freshness, time.Second)
	r.fresh.maxStale = orElse(o.MaxStale, 24*time.Hour)
	r.fresh.timeout = orElse(o.ReadTimeout, 10*time.Second)
	return r
}

func orElse(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// Rules returns the rules that registrations are checked by at the moment.
func (r *Registry) Rules() Rules {
	rules := r.rules
	rules.Names = r.names()
	return rules
}

// Call says who asks for a change, and why.
type Call struct {
	By    auth.Principal
	Cause string // a request id, or the source and id of an event
	// IfMatch is the generation that the record must have: 0 for any or none, AnyGeneration for any.
	IfMatch int64

	// Once and OccurredAt are set for a call that came as an event: what it is known by, so that it has its
	// effect once, and when it was asked for, so that one that comes late does not undo what came after it.
	Once       string
	OccurredAt time.Time

	// DryRun says that everything is to be judged and nothing written.
	DryRun bool
}

// at is when a call counts from: an event's sign of life is as old as the event.
func (c Call) at(now time.Time) time.Time {
	if c.OccurredAt.IsZero() || c.OccurredAt.After(now) {
		return now
	}
	return c.OccurredAt
}

// AnyGeneration as Call.IfMatch demands that there be a record.
const AnyGeneration = -1

// matches checks Call.IfMatch; the generation of a record that is not there is 0.
func (c Call) matches(generation int64) error {
	if c.IfMatch == 0 || c.IfMatch == generation || c.IfMatch == AnyGeneration && generation != 0 {
		return nil
	}
	return &PreconditionError{Generation: generation}
}

// Authorize checks whether a caller may write instances of a service in an environment: the service
// itself, there, or a holder of admin:write. Whether it may use the registry at all is not asked here.
func Authorize(p auth.Principal, serviceName string, env auth.Environment) error {
	_, err := roleOf(p, serviceName, env)
	return err
}

func roleOf(p auth.Principal, serviceName string, env auth.Environment) (Role, error) {
	switch {
	case !p.Subject.IsZero() && p.Subject.String() == serviceName && p.Environment == env && env != "":
		return Owner, nil
	case !p.Subject.IsZero() && p.Scopes.Has(auth.AdminWrite):
		return Operator, nil
	default:
		return 0, fmt.Errorf("%w: the instance is one of %s in %s", ErrNotOwner, quote(serviceName), quote(string(env)))
	}
}

// attempts bounds how often a change is decided anew because another came first.
const attempts = 8

// change loads an instance, decides, and saves; when another change comes in between, it starts again.
// order, where there is one, says whether the call comes too late. decide returns the record to be saved and how
// much of it changed.
func (r *Registry) change(ctx context.Context, call Call, id string, order ordering, decide func(was stored) (Record, Effect, error)) (Instance, error) {
	if !auth.ValidID(id) {
		return Instance{}, fmt.Errorf("instance %s: %w", quote(id), store.ErrNotFound)
	}
	for attempt := 1; ; attempt++ {
		was, err := r.load(ctx, call, id)
		if err != nil {
			return Instance{}, err
		}
		if order != nil {
			// After the reading: what comes in between is caught by the generation that the write demands.
			if err := order(ctx, call, &was, id); err != nil {
				return Instance{}, err
			}
		}
		next, effect, err := decide(was)
		if err != nil {
			return Instance{}, err
		}
		done, err := r.save(ctx, call, was, next, effect)
		if !errors.Is(err, store.ErrConflict) || attempt == attempts {
			return done, err
		}
	}
}

// existing begins every decision about an instance that must be there and be the caller's.
func (c Call) existing(was stored, id string) (Role, error) {
	if was.record == nil {
		return 0, fmt.Errorf("instance %s: %w", id, store.ErrNotFound)
	}
	role, err := roleOf(c.By, was.record.ServiceName, was.record.Environment)
	if err != nil {
		return 0, err
	}
	return role, c.matches(was.generation)
}

// Register registers an instance, or registers it again. Of several that register one id at once, one
// wins; another that says the same finds it unchanged, and one that says something else gets
// store.ErrConflict.
func (r *Registry) Register(ctx context.Context, call Call, reg Registration) (Instance, Outcome, error) {
	if err := Authorize(call.By, reg.ServiceName, reg.Environment); err != nil {
		return Instance{}, "", err
	}
	reg = reg.WithDefaults()
	rules := r.Rules()
	if rules.Names == nil {
		return Instance{}, "", fmt.Errorf("registering %s: the names are not known: %w", quote(reg.ServiceID), store.ErrUnavailable)
	}
	if found := reg.Check(rules); len(found) > 0 {
		return Instance{}, "", &InvalidError{found}
	}
	var outcome Outcome
	var first *stored // what the caller may have known when it asked
	done, err := r.change(ctx, call, reg.ServiceID, r.registrationOrder, func(was stored) (Record, Effect, error) {
		if err := call.matches(was.generation); err != nil {
			return Record{}, Nothing, err
		}
		if first == nil {
			first = &was
		}
		next, what, err := Register(was.record, reg, call.at(r.now()))
		if err != nil {
			return Record{}, Nothing, fmt.Errorf("registering %s: %w", reg.ServiceID, err)
		}
		if outcome = what; what == Unchanged {
			return next, LeaseOnly, nil
		}
		if was.generation != first.generation && !first.saysAs(was) {
			return Record{}, Nothing, &store.ConflictError{Ref: recordRef(reg.ServiceID), Generation: was.generation}
		}
		return next, All, nil
	})
	if err != nil {
		return Instance{}, "", err
	}
	return done, outcome, nil
}

// saysAs reports whether both are registered, with the same registration: then only a verdict or a
// heartbeat came between them, which is no one's competing registration.
func (s stored) saysAs(o stored) bool {
	return s.record != nil && o.record != nil && s.record.Registration.Equal(o.record.Registration)
}

// Heartbeat renews the lease of an instance.
func (r *Registry) Heartbeat(ctx context.Context, call Call, id string) (Instance, error) {
	return r.change(ctx, call, id, nil, func(was stored) (Record, Effect, error) {
		if _, err := call.existing(was, id); err != nil {
			return Record{}, Nothing, err
		}
		next, effect := Heartbeat(*was.record, call.at(r.now()))
		return next, effect, nil
	})
}

// Patch changes an instance in part.
func (r *Registry) Patch(ctx context.Context, call Call, id string, patch Patch) (Instance, error) {
	return r.change(ctx, call, id, nil, func(was stored) (Record, Effect, error) {
		role, err := call.existing(was, id)
		if err != nil {
			return Record{}, Nothing, err
		}
		next, effect, err := patch.Apply(*was.record, role, r.now())
		if err != nil {
			return Record{}, Nothing, was.refused(err)
		}
		var f findings
		next.checkMetadata(&f)
		next.checkTags(&f)
		next.checkWeight(&f)
		if found := f.all(); len(found) > 0 {
			return Record{}, Nothing, &InvalidError{found}
		}
		return next, effect, nil
	})
}

// Unregister removes an instance.
func (r *Registry) Unregister(ctx context.Context, call Call, id string) error {
	if !auth.ValidID(id) {
		return fmt.Errorf("instance %s: %w", quote(id), store.ErrNotFound)
	}
	for attempt := 1; ; attempt++ {
		was, err := r.load(ctx, call, id)
		if err != nil {
			return err
		}
		if err := unregistrationOrder(call, was, id); err != nil {
			return err
		}
		role, err := call.existing(was, id)
		if err != nil {
			return err
		}
		if err := Unregister(*was.record, role); err != nil {
			return was.refused(err)
		}
		_, err = r.commit(ctx, call, []store.Write{
			{Ref: recordRef(id), If: store.AtGeneration(was.generation)},
			{Ref: leaseRef(id)},
		})
		if !errors.Is(err, store.ErrConflict) || attempt == attempts {
			return err
		}
	}
}

// refused adds the record's generation to a refused transition.
func (s stored) refused(err error) error {
	var transition *TransitionError
	if errors.As(err, &transition) {
		transition.Generation = s.generation
	}
	return err
}
