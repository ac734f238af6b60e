package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// Verdict is what a prober found an instance to be.
type Verdict struct {
	Status Status // Healthy, Degraded or Unhealthy
	Reason string // which probe said so and what it found, for people; at most MaxReason bytes of printable text
}

// MaxReason bounds the reason of a verdict.
const MaxReason = 256

// Apply decides on a verdict, which changes nothing but the status. It never ends what somebody has decided
// (stopping, maintenance, quarantine), and says nothing of an instance whose lease has ended or that asked for no
// check. The caller must make sure that the record is still of the generation that was probed.
func (v Verdict) Apply(current Record, now time.Time) (Record, Effect, error) {
	now = stamp(now)
	if !mayCause[Prober][current.Status][v.Status] {
		return current, Nothing, &TransitionError{From: current.Status, To: v.Status, Role: Prober}
	}
	if current.Status == v.Status || current.Lapsed(now) || !current.HealthCheck.Enabled {
		return current, Nothing, nil
	}
	next := current
	next.setStatus(v.Status, v.Reason, now)
	return next, All, nil
}

// ProberName is the service whose verdicts count.
const ProberName = "isectech-healthcheck"

// Verdict notes what the prober found an instance to be. Call.IfMatch must be the generation that was probed: what
// was found of another says nothing of this one.
func (r *Registry) Verdict(ctx context.Context, call Call, id string, v Verdict) (Instance, error) {
	if call.By.Subject.String() != ProberName {
		return Instance{}, fmt.Errorf("%w: verdicts are the prober's", ErrNotOwner)
	}
	if call.IfMatch <= 0 {
		return Instance{}, fmt.Errorf("verdict on %s: %w: it names no generation", quote(id), store.ErrInvalid)
	}
	if !printable(v.Reason, MaxReason) {
		return Instance{}, &InvalidError{[]Finding{{"reason", codeInvalid, fmt.Sprintf("a reason has at most %d bytes of printable text", MaxReason)}}}
	}
	return r.change(ctx, call, id, nil, func(was stored) (Record, Effect, error) {
		if was.record == nil {
			return Record{}, Nothing, fmt.Errorf("instance %s: %w", id, store.ErrNotFound)
		}
		if err := call.matches(was.generation); err != nil {
			return Record{}, Nothing, err
		}
		next, effect, err := v.Apply(*was.record, r.now())
		return next, effect, was.refused(err)
	})
}
