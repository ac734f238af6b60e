package client

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/registry"
)

// leaveTimeout bounds all of leaving but the drain: Cloud Run grants 10 s.
const leaveTimeout = 6 * time.Second

// registerGrace is how long an attempt to register may go on when the instance is to leave: one that were broken off
// could still take effect after the instance was removed.
const registerGrace = 2 * time.Second

// outlast returns a context that ends so long after another.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(longer, by)
		end()
	})
	return longer, func() {
		stop()
		end()
	}
}

// leave sets the instance to stopping, so that callers learn of it, lets them, and removes it. What was never
// heard of by the registry, or has no lease, needs no leaving.
func (l *Lease) leave() error {
	l.mu.Lock()
	reg, instance := l.reg, l.instance
	l.mu.Unlock()
	if reg.Lease == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.kept), leaveTimeout+l.c.options.Drain)
	defer cancel()
	if instance.ServiceID != "" {
		err := l.last(ctx, http.MethodPatch, map[string]registry.Status{"status": registry.Stopping})
		if err == nil {
			sleep(ctx, l.c.options.Drain)
		}
	}
	err := l.last(ctx, http.MethodDelete, nil) // also where an attempt to register had no answer
	if err != nil {
		return fmt.Errorf("instance %s leaves by the end of its lease: %w", l.id, err)
	}
	return nil
}

// last makes one of the last calls, a second time where the first fails in a way that may pass. An instance that is
// not there is gone already.
func (l *Lease) last(ctx context.Context, method string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout/2)
	defer cancel()
	for failures := 1; ; failures++ {
		_, err := l.c.call(ctx, method, l.path(), nil, body, nil)
		if answered(err, http.StatusNotFound) {
			return nil
		}
		if err == nil || lasting(err) || failures == 3 || !sleep(ctx, l.c.jitter(firstPause)) {
			return err
		}
	}
}
