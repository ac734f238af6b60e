// Package grpcresolver lets gRPC call services by their names, as client.Transport lets HTTP:
//
//	grpc.NewClient("isectech:///backend-services", append(grpcresolver.Options(c), credentials)...)
//
// The path's second part, where there is one, names the endpoint. A connection with TLS goes to endpoints that speak
// it and one without to those that do not. There is a connection to each instance; which of them a call takes, and
// what is learned from its end, is package balance's.
//
// It is a module of its own, since the registry's others have no use for gRPC.
package grpcresolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/balance"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/endpoint"
)

// Scheme is that of the targets.
const Scheme = "isectech"

// Options returns what makes a connection find services through a client, and choose among their instances.
func Options(c *client.Client) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithResolvers(&builder{c}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"` + policyName + `":{}}]}`),
	}
}

// builder makes resolvers over a client.
type builder struct{ c *client.Client }

// Scheme implements resolver.Builder.
func (*builder) Scheme() string { return Scheme }

// Build implements resolver.Builder.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, o resolver.BuildOptions) (resolver.Resolver, error) {
	service, name, _ := strings.Cut(target.Endpoint(), "/")
	if service == "" || target.URL.Host != "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("target %s: want %s:///service or %s:///service/endpoint", target.URL.String(), Scheme, Scheme)
	}
	r := &following{c: b.c, service: service, endpoint: name, cc: cc, done: make(chan struct{})}
	r.secure = o.DialCreds != nil && o.DialCreds.Info().SecurityProtocol != "insecure"
	var ctx context.Context
	ctx, r.end = context.WithCancel(context.Background()) //nolint:gosec // G118: Close calls it
	go r.run(ctx)
	return r, nil
}

// following tells a connection of a service's instances as they change.
type following struct {
	c                 *client.Client
	service, endpoint string
	secure            bool
	cc                resolver.ClientConn

	end  context.CancelFunc
	once sync.Once
	done chan struct{}
}

// again is the time between two attempts to learn of a service that cannot be learned of.
const again = 2 * time.Second

func (r *following) run(ctx context.Context) {
	defer close(r.done)
	var last []balance.Endpoint
	for told := false; ; {
		listing, err := r.list(ctx)
		var changed <-chan struct{}
		var pause <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			r.cc.ReportError(err)
			timer := time.NewTimer(again)
			pause = timer.C
		default:
			changed = listing.Changed
			if !told || !slices.Equal(last, listing.Endpoints) {
				r.tell(listing.Endpoints)
				last, told = listing.Endpoints, true
			}
		}
		select {
		case <-changed:
		case <-pause:
		case <-ctx.Done():
			return
		}
	}
}

// list returns the instances that may be connected to.
func (r *following) list(ctx context.Context) (client.Listing, error) {
	over := client.GRPC
	if r.secure {
		over = client.GRPCS
	}
	listing, err := r.c.List(ctx, r.service, r.endpoint, over)
	if err != nil {
		return client.Listing{}, err
	}
	listing.Endpoints = slices.DeleteFunc(listing.Endpoints, func(e balance.Endpoint) bool {
		return e.Weight == 0 || !r.secure && e.Protocol != "grpc" ||
			e.Status != registry.Healthy && e.Status != registry.Degraded && e.Status != registry.Unhealthy
	})
	return listing, nil
}

// tell gives the connection the addresses, and its balancer what it chooses by. An error means that there is nothing to
// connect to, which the balancer has taken note of.
func (r *following) tell(endpoints []balance.Endpoint) {
	state := resolver.State{Attributes: attributes.New(choiceKey{}, &choice{r.c.Balance(), endpoints})}
	for _, e := range endpoints {
		if address, err := addressOf(e); err == nil && !slices.ContainsFunc(state.Addresses, address.Equal) {
			state.Addresses = append(state.Addresses, address)
		}
	}
	if err := r.cc.UpdateState(state); err != nil && len(state.Addresses) == 0 {
		r.cc.ReportError(fmt.Errorf("%s: %w", r.service, client.ErrNoEndpoint))
	}
}

var errAddress = errors.New("not an address to connect to")

// addressOf returns where an instance is reached. Its host is what TLS proves and what calls ask for.
func addressOf(e balance.Endpoint) (resolver.Address, error) {
	at, err := endpoint.Parse(e.URL)
	if err != nil {
		return resolver.Address{}, fmt.Errorf("%w: %w", errAddress, err)
	}
	address := resolver.Address{Addr: net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port)))}
	if address.ServerName = address.Addr; at.Port == 443 && !at.Addr.IsValid() {
		address.ServerName = at.Host
	}
	return address, nil
}

// ResolveNow implements resolver.Resolver. Changes are told as they come.
func (*following) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (r *following) Close() {
	r.once.Do(r.end)
	<-r.done
}
