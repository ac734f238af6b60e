package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/isectech/service-networking/shared/store"
)

// ErrStale means that something asked for later has been done already.
var ErrStale = errors.New("overtaken by a later call")

// ordering says whether a call that came by a queue comes too late, given what is stored. A call that is under way
// now never does.
//
// What is compared is when things were asked for, and only what the call would undo: a registration gives way to a
// later registration, patch or end; the end of an instance to a later registration alone. A verdict of the prober
// asks for nothing, and a heartbeat undoes nothing: it lengthens the lease from when it was sent or leaves it.
type ordering func(ctx context.Context, call Call, was *stored, id string) error

// registrationOrder is the order of registrations. Of an instance that is not there the journal remembers when it
// ended, and the write demands that nothing has come since.
func (r *Registry) registrationOrder(ctx context.Context, call Call, was *stored, id string) error {
	if call.OccurredAt.IsZero() {
		return nil
	}
	if was.record != nil {
		return call.after(max(was.record.Asked.Registered, was.record.Asked.Patched), *was, id)
	}
	last, err := store.LastEntry(ctx, r.store, recordRef(id).String())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("journal of instance %s: %w", id, err)
	}
	untouched := store.AbsentSince(last.Sequence)
	was.absent = &untouched
	if err != nil {
		return call.after(0, *was, id)
	}
	return call.after(last.OccurredAt().UnixMicro(), *was, id)
}

// unregistrationOrder is the order of the ends of instances.
func unregistrationOrder(call Call, was stored, id string) error {
	if call.OccurredAt.IsZero() {
		return nil
	}
	if was.record == nil {
		return call.after(0, was, id)
	}
	return call.after(was.record.Asked.Registered, was, id)
}

// after returns ErrStale unless the call was asked for after a time in microseconds, or at it, and
// store.ErrDuplicate for one that has had its effect.
func (c Call) after(asked int64, was stored, id string) error {
	switch {
	case c.OccurredAt.UnixMicro() < asked:
		return fmt.Errorf("instance %s: %w", id, ErrStale)
	case was.applied:
		return fmt.Errorf("instance %s: %w", id, store.ErrDuplicate)
	default:
		return nil
	}
}
