package client

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/registry"
)

const (
	registerPath = "/internal/registry/register"
	servicesPath = "/internal/registry/services"
	watchPath    = "/internal/registry/watch"
)

// NewRegistration returns the registration of an instance with the weight and the lease that a document gets which
// does not say: their zeros in a registry.Registration mean an instance that is never picked, and no lease.
func NewRegistration(service, id string, endpoints ...registry.Endpoint) registry.Registration {
	return registry.Registration{
		ServiceName: service, ServiceID: id, Endpoints: endpoints,
		Weight: registry.DefaultWeight, Lease: registry.Duration(registry.DefaultLease),
	}
}

// Lease is a registration that is kept until Close, or until the context that it was made with ends.
type Lease struct {
	c    *Client
	id   string
	kept context.Context // ends when the instance is to leave
	stop context.CancelFunc
	done chan struct{} // closed when it has left

	mu       sync.Mutex
	reg      registry.Registration
	instance registry.Instance // as the registry last gave it; the zero Instance before
	err      error             // of the last attempt
	left     error             // of leaving, once done is closed
}

// Register registers an instance, in the client's environment unless reg names another, and keeps it registered: it
// renews the lease each third of its time, and registers again where the registry has forgotten the instance.
//
// A refusal is returned at once. While the registry cannot be reached it is asked again in the background, so that
// a service starts without it: Lease.State tells. When ctx ends, or with Close, the instance leaves: it is set to
// stopping, and removed after Options.Drain. An instance without a lease stays registered, since a request is what
// wakes it.
//
// Registering an id again replaces what its lease says, and returns the same lease.
func (c *Client) Register(ctx context.Context, reg registry.Registration) (*Lease, error) {
	if reg.Environment == "" {
		reg.Environment = c.options.Environment
	}
	reg = reg.WithDefaults()
	l, before, err := c.leaseOf(ctx, reg)
	if err != nil {
		return nil, err
	}
	err = l.register(ctx)
	switch {
	case before != nil:
		if lasting(err) {
			l.mu.Lock()
			l.reg = *before // which still holds
			l.mu.Unlock()
		}
		return l, err
	case lasting(err):
		l.stop()
		l.end(nil)
		return nil, err
	default:
		go l.keep() //nolint:contextcheck // it has the context that the lease is kept for
		return l, nil
	}
}

// leaseOf returns the lease of an instance, and what it said before; nil means that it is new, and that its caller sees
// to its end.
func (c *Client) leaseOf(ctx context.Context, reg registry.Registration) (l *Lease, before *registry.Registration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	if l = c.leases[reg.ServiceID]; l != nil {
		if l.kept.Err() != nil {
			return nil, nil, fmt.Errorf("instance %s: %w", reg.ServiceID, ErrLeaving)
		}
		l.mu.Lock()
		was := l.reg
		l.reg = reg
		l.mu.Unlock()
		return l, &was, nil
	}
	l = &Lease{c: c, id: reg.ServiceID, reg: reg, done: make(chan struct{})}
	l.kept, l.stop = context.WithCancel(ctx)
	c.leases[reg.ServiceID] = l
	c.group.Add(1)
	return l, nil, nil
}

// end forgets the lease; left is what became of leaving.
func (l *Lease) end(left error) {
	l.mu.Lock()
	l.left = left
	l.mu.Unlock()
	l.c.mu.Lock()
	delete(l.c.leases, l.id)
	l.c.mu.Unlock()
	close(l.done)
	l.c.group.Done()
}

// State returns the instance as the registry last gave it, and what is wrong with the registration at the moment; nil
// is nothing.
func (l *Lease) State() (registry.Instance, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.instance, l.err
}

// Done returns a channel that is closed when the instance has left.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Close makes the instance leave and waits for that, at most until ctx ends; the leaving goes on all the same, and
// takes some seconds at most. It may be called again, and returns the same.
func (l *Lease) Close(ctx context.Context) error {
	l.stop()
	select {
	case <-l.done:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.left
	case <-ctx.Done():
		return fmt.Errorf("instance %s: %w: %w", l.id, ErrLeaving, ctx.Err())
	}
}

// keep renews the lease until the instance is to leave.
func (l *Lease) keep() {
	for failures := 0; ; {
		l.mu.Lock()
		third, registered, err := l.reg.Lease.Std()/3, l.instance.ServiceID != "", l.err
		l.mu.Unlock()
		next := third - l.c.jitter(third/5) // renewals of many instances do not fall into step
		switch {
		case lasting(err):
			next = l.c.pause(failures, max(third, time.Minute), err)
		case err != nil:
			next = l.c.pause(failures, max(min(third, maxPause), firstPause/5), err)
		case third == 0:
			<-l.kept.Done() // there is nothing to renew
		}
		if !sleep(l.kept, next) {
			break
		}
		if registered {
			err = l.heartbeat(l.kept)
		} else {
			err = l.register(l.kept)
		}
		if failures++; err == nil {
			failures = 0
		}
	}
	l.end(l.leave())
}

// patience is how long an answer is waited for: a registry that hangs does not cost the lease.
func patience(reg registry.Registration) time.Duration {
	if reg.Lease == 0 {
		return callTimeout
	}
	return max(min(reg.Lease.Std()/3, callTimeout), 2*time.Second)
}

// register registers the instance, or registers it again.
func (l *Lease) register(ctx context.Context) error {
	l.mu.Lock()
	reg := l.reg
	l.mu.Unlock()
	ctx, end := outlast(ctx, registerGrace)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, patience(reg))
	defer cancel()
	var instance registry.Instance
	_, err := l.c.call(ctx, http.MethodPost, registerPath, nil, reg, &instance)
	return l.note(instance, err)
}

// heartbeat renews the lease. Where the instance is not known any more it is registered again.
func (l *Lease) heartbeat(ctx context.Context) error {
	l.mu.Lock()
	limit := patience(l.reg)
	l.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var instance registry.Instance
	_, err := l.c.call(limited, http.MethodPut, l.path()+"/heartbeat", nil, nil, &instance)
	if answered(err, http.StatusNotFound) {
		l.c.logger.Warn("instance was not known, registers again", slog.String("service_id", l.id))
		return l.register(ctx)
	}
	return l.note(instance, err)
}

func (l *Lease) path() string { return servicesPath + "/" + url.PathEscape(l.id) }

// note remembers how an attempt ended, and tells of the first that fails and the first that does not.
func (l *Lease) note(instance registry.Instance, err error) error {
	if err != nil && l.kept.Err() != nil {
		return err // of its own end
	}
	if err != nil {
		err = fmt.Errorf("instance %s: %w", l.id, err)
	}
	l.mu.Lock()
	before := l.err
	if l.err = err; err == nil {
		l.instance = instance
	}
	l.mu.Unlock()
	switch {
	case err != nil && before == nil:
		l.c.logger.Warn("registration is in danger", slog.String("service_id", l.id), slog.String("error", err.Error()))
	case err == nil && before != nil:
		l.c.logger.Info("registration is kept again", slog.String("service_id", l.id))
	}
	return err
}
