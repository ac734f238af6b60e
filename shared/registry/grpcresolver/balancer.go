package grpcresolver

import (
	"sync"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/balance"
)

// policyName is the name of the balancer.
const policyName = "isectech_registry"

// gRPC knows balancers by name alone.
func init() { balancer.Register(policy{}) }

// choice is what the resolver gives the balancer.
type choice struct {
	options   balance.Options
	endpoints []balance.Endpoint
}

type choiceKey struct{}

// policy makes a balancer for each connection.
type policy struct{}

// Name implements balancer.Builder.
func (policy) Name() string { return policyName }

// Build implements balancer.Builder.
func (policy) Build(cc balancer.ClientConn, o balancer.BuildOptions) balancer.Balancer {
	p := &pickers{}
	return &choosing{base.NewBalancerBuilder(policyName, p, base.Config{HealthCheck: true}).Build(cc, o), p}
}

// choosing keeps the connections as gRPC's own balancers do, and chooses among them by package balance.
type choosing struct {
	balancer.Balancer
	pickers *pickers
}

// UpdateClientConnState takes note of the instances first.
func (c *choosing) UpdateClientConnState(s balancer.ClientConnState) error {
	if given, ok := s.ResolverState.Attributes.Value(choiceKey{}).(*choice); ok {
		c.pickers.set(given)
	}
	return c.Balancer.UpdateClientConnState(s)
}

// pickers makes the pickers of one connection.
type pickers struct {
	mu       sync.Mutex
	given    *choice
	balancer *balance.Balancer
}

func (p *pickers) set(given *choice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given = given; p.balancer == nil {
		p.balancer = balance.New(given.options)
	}
}

// Build implements base.PickerBuilder. Instances that are not connected stay in the set, so that what is known of them
// is kept, in a status that is not called.
func (p *pickers) Build(info base.PickerBuildInfo) balancer.Picker {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given == nil {
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	ready := make(map[string]balancer.SubConn, len(info.ReadySCs)) // by address
	for conn, of := range info.ReadySCs {
		ready[of.Address.Addr] = conn
	}
	conns := make(map[string]balancer.SubConn, len(ready)) // by instance
	set := make([]balance.Endpoint, 0, len(p.given.endpoints))
	for _, e := range p.given.endpoints {
		address, err := addressOf(e)
		if err != nil {
			continue
		}
		if conn, ok := ready[address.Addr]; ok {
			conns[e.ServiceID] = conn
		} else {
			e.Status = registry.Stopping
		}
		set = append(set, e)
	}
	p.balancer.Set(set)
	return &picker{p.balancer, conns}
}

type picker struct {
	balancer *balance.Balancer
	conns    map[string]balancer.SubConn
}

// Pick implements balancer.Picker.
func (p *picker) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	chosen, err := p.balancer.Pick()
	if err != nil {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	conn, ok := p.conns[chosen.ServiceID]
	if !ok { // the next picker is on its way
		chosen.Done(balance.Ignored)
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	return balancer.PickResult{SubConn: conn, Done: func(info balancer.DoneInfo) { chosen.Done(outcomeOf(info.Err)) }}, nil
}

// outcomeOf says what the end of a call tells of an instance: the codes that HTTP would call 5xx count against it.
func outcomeOf(err error) balance.Outcome {
	switch status.Code(err) {
	case codes.Canceled:
		return balance.Ignored
	case codes.Unknown, codes.DeadlineExceeded, codes.Internal, codes.Unavailable, codes.DataLoss:
		return balance.Failure
	default:
		return balance.Success
	}
}
