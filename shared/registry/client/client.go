// Package client is the registry as services use it: they register an instance and keep its lease until they
// stop, and find the instances of others in a copy of their own that goes on without the registry.
//
// A Client asks the registry for a service when it is first discovered, and from then on waits for its changes in
// one request at a time, however many ask. Each endpoint of the service has a balance.Balancer, which learns from
// what becomes of calls. Transport puts all of it behind an http.Client:
//
//	http.Client{Transport: &client.Transport{Client: c}}.Get("https://backend-services/v1/items")
//
// A Client holds no secrets: what proves who it is comes from Options.Token, or from Options.HTTP.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry/balance"
)

// Options are what a Client is made of. Server, Environment and Now are required.
type Options struct {
	Server      string           // where the registry is reached: https://…; http is for the development environment
	Environment auth.Environment // whose instances are discovered
	Now         func() time.Time

	// Token returns an access token for an audience. It is asked before each call and keeps tokens itself. Without
	// it HTTP proves who calls.
	Token func(ctx context.Context, audience string) (string, error)
	HTTP  *http.Client // for calls of the registry; nil means one of its own
	// Logger is told when the registry is lost or found and when a lease is in danger; nil: nobody is.
	Logger *slog.Logger

	// Balance says how instances are chosen. Its clock is Now and its seed Seed, where it has none.
	Balance balance.Options
	Seed    uint64 // of all jitter and all choices; 0 means a random one

	// MaxStale is the age from which a copy is not answered from; 0 means that any is better than nothing. It is no less
	// than 40 s, since a registry that is gone may go unnoticed for so long.
	MaxStale  time.Duration
	MaxNames  int           // how many services are watched at once; 0 means 256
	IdleAfter time.Duration // a service that nobody discovers for so long is watched no more; 0 means 10 minutes
	Drain     time.Duration // between saying that an instance stops and removing it; 0 means 2 s, less means none
}

// Client is a service's side of the registry. It is safe for concurrent use.
type Client struct {
	options Options
	server  *url.URL
	http    *http.Client
	logger  *slog.Logger

	mu     sync.Mutex
	names  map[string]*watched // by every name and alias that was asked for
	leases map[string]*Lease   // by instance
	dice   *rand.Rand
	closed bool

	ctx   context.Context // ends with the client
	end   context.CancelFunc
	group sync.WaitGroup // of all goroutines
}

// Errors of a Client, beside *RefusedError and those of a context.
var (
	ErrClosed         = errors.New("the registry's client is closed")
	ErrUnavailable    = errors.New("the registry does not answer")
	ErrUnknownService = errors.New("there is no such service")
	ErrNoEndpoint     = errors.New("no instance can be called")
	ErrStale          = errors.New("what is known of the service is too old")
	ErrLeaving        = errors.New("the instance is being removed")
)

// New returns a Client, which does nothing yet.
func New(o Options) (*Client, error) {
	server, err := url.Parse(o.Server)
	if err != nil || server.Host == "" || server.User != nil || server.RawQuery != "" || server.Fragment != "" {
		return nil, fmt.Errorf("registry at %q: want a URL such as https://api.isectech.com", o.Server)
	}
	if server.Scheme != "https" && (server.Scheme != "http" || o.Environment != auth.Development && !loopback(server.Hostname())) {
		return nil, fmt.Errorf("registry at %q: want https", o.Server) // a token is sent there
	}
	if _, err := auth.ParseEnvironment(string(o.Environment)); err != nil {
		return nil, err
	}
	if o.Now == nil {
		return nil, errors.New("registry client: no clock")
	}
	if o.Seed == 0 {
		o.Seed = balance.RandomSeed()
	}
	o.Balance.Now = o.Now
	o.Balance.Seed = cmp.Or(o.Balance.Seed, o.Seed)
	o.MaxNames = cmp.Or(o.MaxNames, 256)
	o.IdleAfter = cmp.Or(o.IdleAfter, 10*time.Minute)
	if o.MaxStale != 0 {
		o.MaxStale = max(o.MaxStale, longPoll+callTimeout+5*time.Second)
	}
	o.Drain = max(cmp.Or(o.Drain, 2*time.Second), 0)
	c := &Client{
		options: o, server: server, http: ownClient(o.HTTP), logger: o.Logger,
		names: map[string]*watched{}, leases: map[string]*Lease{},
		dice: rand.New(rand.NewPCG(o.Seed, 0)), //nolint:gosec // G404: spreads load, hides nothing
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	return c, nil
}

// Close ends every lease as Lease.Close does, at once, and all watching. It waits for that until ctx ends, and may be
// called again.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	leases := make([]*Lease, 0, len(c.leases))
	for _, l := range c.leases {
		leases = append(leases, l)
	}
	c.mu.Unlock()
	for _, l := range leases {
		l.stop()
	}
	var failed []error
	for _, l := range leases {
		failed = append(failed, l.Close(ctx))
	}
	c.end()
	gone := make(chan struct{})
	go func() {
		c.group.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return errors.Join(failed...)
	case <-ctx.Done():
		return errors.Join(append(failed, ctx.Err())...)
	}
}

// jitter returns something from half to all of d.
func (c *Client) jitter(d time.Duration) time.Duration {
	if d < 2 {
		return d
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return d/2 + time.Duration(c.dice.Int64N(int64(d/2)+1))
}

// The pace of repeated attempts.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 15 * time.Second
	mostAsked  = 5 * time.Minute // of a Retry-After
)

// pause returns how long to wait after so many failures in a row, the last of which is given: longer each time, up
// to a bound, at random, and at least as long as the registry asked for.
func (c *Client) pause(failures int, bound time.Duration, err error) time.Duration {
	d := c.jitter(min(firstPause<<min(max(failures-1, 0), 20), bound))
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.RetryAfter > 0 {
		asked := min(refused.RetryAfter, mostAsked)
		d = max(d, asked+c.jitter(asked/5))
	}
	return d
}

// sleep waits, and reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
