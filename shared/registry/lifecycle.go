package registry

import (
	"errors"
	"time"
)

// ErrNotOwner means that the instance, or the name, is another service's.
var ErrNotOwner = errors.New("not the owner")

// Record is the state of one instance: what decisions are made from, and what they return.
type Record struct {
	Registration
	Status       Status    `json:"status"`
	StatusSince  time.Time `json:"status_since"`
	StatusReason string    `json:"status_reason,omitempty"` // what the prober found; "" where no verdict made the status
	RegisteredAt time.Time `json:"registered_at"`
	Asked        Asked     `json:"asked,omitzero"`
	LeaseEnd     time.Time `json:"-"` // kept beside the record, since heartbeats move it; zero where there is no lease
}

// Asked is when what stands in a record was asked for, in microseconds since 1970. For what came by a queue that is
// before it was done.
type Asked struct {
	Registered int64 `json:"registered_us,omitzero"` // the latest registration, also one that changed nothing
	Patched    int64 `json:"patched_us,omitzero"`    // the latest patch
}

// Lapsed reports whether the lease has ended. A lease ends at LeaseEnd, not after it.
func (r *Record) Lapsed(now time.Time) bool { return r.Lease != 0 && !r.LeaseEnd.After(now) }

// Outcome is what a registration came to.
type Outcome string

// The outcomes there are.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged" // but for the lease, which is renewed
)

// Effect says how much of an instance a decision changes, and so what has to be written.
type Effect uint8

// The effects there are.
const (
	Nothing   Effect = iota
	LeaseOnly        // the lease moves, the record stays
	All              // the record changes, and the lease with it
)

// fresh is the status of an instance that nothing is known about. Without a health check its owner
// vouches for it, for as long as the lease lasts.
func fresh(reg Registration) Status {
	if reg.HealthCheck.Enabled {
		return Starting
	}
	return Healthy
}

// leaseEnd returns when a lease taken now ends, in the microseconds that the store keeps.
func leaseEnd(reg Registration, now time.Time) time.Time {
	if reg.Lease == 0 {
		return time.Time{}
	}
	return stamp(now.Add(reg.Lease.Std()))
}

// stamp returns a time as it is stored: UTC, in whole microseconds.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Register decides on a registration that was asked for at a time. current is nil where there is no record; a
// record that has been unregistered is no record.
//
// Registering again renews the lease, and shortens it only where the registration asks for a shorter one. It starts the instance over when it had lapsed or was stopping, and
// when what probes have learned no longer holds because endpoints or health check differ. Maintenance and
// quarantine outlast it. Name and environment of an id never change.
func Register(current *Record, reg Registration, now time.Time) (Record, Outcome, error) {
	now = stamp(now)
	next := Record{Registration: reg, LeaseEnd: leaseEnd(reg, now), Asked: Asked{Registered: now.UnixMicro()}}
	if current == nil {
		next.Status, next.StatusSince, next.RegisteredAt = fresh(reg), now, now
		return next, Created, nil
	}
	if current.ServiceName != reg.ServiceName || current.Environment != reg.Environment {
		return Record{}, "", ErrNotOwner
	}
	next.Status, next.StatusSince, next.RegisteredAt = current.Status, current.StatusSince, current.RegisteredAt
	next.StatusReason = current.StatusReason
	next.Asked = Asked{max(next.Asked.Registered, current.Asked.Registered), current.Asked.Patched}
	if reg.Lease == current.Lease && next.LeaseEnd.Before(current.LeaseEnd) {
		next.LeaseEnd = current.LeaseEnd // a sign of life that was sent later has come before
	}
	switch {
	case current.Status == Maintenance || current.Status == Quarantined:
	case current.Status == Stopping || current.Lapsed(now):
		next.begin(now)
		return next, Updated, nil
	case !sameProbe(current.Registration, reg):
		next.setStatus(fresh(reg), "", now)
		next.StatusReason = "" // what the probe found was of something else
	}
	if next.Status == current.Status && current.Registration.Equal(reg) {
		return next, Unchanged, nil
	}
	return next, Updated, nil
}

// Heartbeat decides on a sign of life. It renews the lease, at most once per half lease, and nothing
// else: it never heals, and never ends maintenance, stopping or quarantine. An instance that had lapsed
// comes back as a new one would.
func Heartbeat(current Record, now time.Time) (Record, Effect) {
	now = stamp(now)
	if current.Lease == 0 {
		return current, Nothing
	}
	next := current
	next.LeaseEnd = leaseEnd(current.Registration, now)
	switch {
	case current.Lapsed(now) && !current.Status.held():
		next.begin(now)
		return next, All
	case current.LeaseEnd.Sub(now) > current.Lease.Std()/2:
		return current, Nothing
	default:
		return next, LeaseOnly
	}
}

// Apply decides on a patch. It leaves the lease alone: a patched instance that has lapsed stays lapsed.
// The result must still be checked, since a patch may take it beyond a bound.
func (p Patch) Apply(current Record, role Role, now time.Time) (Record, Effect, error) {
	now = stamp(now)
	next := current
	next.Registration = p.on(current.Registration)
	if p.Status != "" {
		to := p.Status
		if to == Starting {
			to = fresh(next.Registration)
		}
		if to != current.Status {
			if !mayCause[role][current.Status][p.Status] {
				return current, Nothing, &TransitionError{From: current.Status, To: p.Status, Role: role}
			}
			next.setStatus(to, "", now)
		}
	}
	next.Asked.Patched = now.UnixMicro()
	if next.Status == current.Status && next.Registration.Equal(current.Registration) {
		return current, Nothing, nil
	}
	return next, All, nil
}

// Unregister decides whether the record may be removed.
func Unregister(current Record, role Role) error {
	if !mayCause[role][current.Status][gone] {
		return &TransitionError{From: current.Status, To: gone, Role: role}
	}
	return nil
}

// begin makes an instance one that nothing is known about.
func (r *Record) begin(now time.Time) {
	r.Status, r.StatusSince, r.StatusReason = fresh(r.Registration), now, ""
}

func (r *Record) setStatus(s Status, reason string, now time.Time) {
	if r.Status != s {
		r.Status, r.StatusSince, r.StatusReason = s, now, reason
	}
}
