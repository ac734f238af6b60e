package client

import (
	"context"
	"errors"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry/balance"
)

// Found is an instance to call, with what became of which its Done, or Report and Release, is told. Panic and Probe
// say under which circumstances it was chosen.
type Found struct {
	balance.Pick
	ServiceName string        // of the name or alias that was asked for
	Age         time.Duration // how old that is which it was chosen from
}

// Discover chooses an instance of a service, by its name or an alias, to be called at the named endpoint, or at its
// first. The first call for a service waits until it is known or ctx ends. After that the registry may be gone: the
// last that is known is answered from, and Age tells how old it is.
//
// The error is ErrUnknownService, ErrNoEndpoint, ErrStale, ErrClosed, or that of ctx with the reason why the registry
// did not answer.
func (c *Client) Discover(ctx context.Context, service, endpoint string) (Found, error) {
	return c.find(ctx, service, want{endpoint, Anything}, "")
}

// DiscoverOver is Discover among the endpoints that speak a protocol.
func (c *Client) DiscoverOver(ctx context.Context, service, endpoint string, over Over) (Found, error) {
	return c.find(ctx, service, want{endpoint, over}, "")
}

// find chooses, where but is not empty another than that.
func (c *Client) find(ctx context.Context, ref string, wanted want, but string) (Found, error) {
	if !auth.ValidID(ref) {
		return Found{}, ErrUnknownService
	}
	w, err := c.watching(ref) //nolint:contextcheck // the watch goes on after the first who asked
	if err != nil {
		return Found{}, err
	}
	w, s, age, err := w.known(ctx)
	if err != nil {
		return Found{}, err
	}
	b, err := w.balancer(s, wanted)
	if err != nil {
		return Found{}, err
	}
	var p balance.Pick
	if but == "" {
		p, err = b.Pick()
	} else {
		p, err = b.PickOther(but)
	}
	if errors.Is(err, balance.ErrNone) {
		err = noEndpoint(s, wanted)
	}
	return Found{Pick: p, ServiceName: s.name, Age: age}, err
}

// Listing is the instances of a service that may be called at an endpoint.
type Listing struct {
	ServiceName string
	Endpoints   []balance.Endpoint // by instance, in any status
	Age         time.Duration

	Changed <-chan struct{} // closed when there may be others
}

// List returns the instances of a service that have an endpoint and whose leases last, for callers that choose by
// themselves. It waits, and fails, as Discover does.
func (c *Client) List(ctx context.Context, service, endpoint string, over Over) (Listing, error) {
	if !auth.ValidID(service) {
		return Listing{}, ErrUnknownService
	}
	w, err := c.watching(service) //nolint:contextcheck // the watch goes on after the first who asked
	if err != nil {
		return Listing{}, err
	}
	w, s, age, err := w.known(ctx)
	if err != nil {
		return Listing{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.service != nil {
		s = w.service
	}
	return Listing{s.name, s.endpoints(want{endpoint, over}), age, w.changed}, nil
}

// Balance returns the options of the client's balancers, for callers that choose by themselves.
func (c *Client) Balance() balance.Options { return c.options.Balance }
