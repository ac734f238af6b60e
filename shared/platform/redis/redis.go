// Package redis is the platform's client of Redis. Redis is a cache here: it may be down, slow, emptied or
// full of garbage at any moment, and nothing but speed may depend on it. So every call
//
//   - ends within a budget of its own, 50 ms for reads and 100 ms for writes, whatever Redis does;
//   - passes a circuit breaker: after five failures in a row calls fail at once, and one call a second
//     tries whether Redis is back;
//   - fails with an error that wraps ErrUnavailable when Redis did not give a usable answer, which tells the
//     caller to go on without it.
//
// The connection is made beside the calls, when the first of them needs it and again after it broke; Open
// does not wait for it. What arrives on it is checked before the client library reads it, which would crash
// the process on some of what a server that is no Redis may send. Redis 7 or newer is needed, one primary or
// a service that looks like one; not a cluster.
//
// Nonces keeps the nonces of signed requests; package rediscache in shared/store keeps documents.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// The errors of this package, wrapped with the operation.
var (
	// ErrUnavailable says that Redis did not answer in time, answered garbage or was not asked because the
	// breaker is open. Whether a write has happened is not known.
	ErrUnavailable = errors.New("redis unavailable")
	// ErrWrongType says that a key holds something else than it should.
	ErrWrongType = errors.New("redis key of another type")
)

// Made once, since they are returned when there is no time to lose.
var (
	errOpen = fmt.Errorf("%w: the breaker is open", ErrUnavailable)
	errBusy = fmt.Errorf("%w: too many calls are under way", ErrUnavailable)
)

// The defaults of Options.
const (
	DefaultReadTimeout    = 50 * time.Millisecond
	DefaultWriteTimeout   = 100 * time.Millisecond
	DefaultConnectTimeout = 2 * time.Second
	DefaultFailures       = 5
	DefaultCooldown       = time.Second
)

// maxCalls bounds the calls under way. The library's queue holds twice as many, and blocks when it is full.
const maxCalls = 512

// cacheBytes bounds what client-side caching keeps in memory.
const cacheBytes = 16 << 20

// Options are what Open needs besides the address. Zero values mean the defaults.
type Options struct {
	Now            func() time.Time // the breaker's clock; required
	ReadTimeout    time.Duration    // of one reading call
	WriteTimeout   time.Duration    // of one writing call
	ConnectTimeout time.Duration    // of making a connection, for which no call waits longer than its own timeout
	Failures       int              // as many in a row open the breaker
	Cooldown       time.Duration    // how long the breaker stays open before one call tries again
	TLS            *tls.Config      // for rediss:, where the system's roots do not do

	// Observe, if set, is told of each call: its operation (get, get_cached, get_all, set_new, run, ping) and its
	// result (ok, open, busy, timeout, canceled, garbage, error). It must be quick.
	Observe func(op, result string)
}

// Client talks to one Redis. It is safe for concurrent use.
type Client struct {
	name    string
	options Options
	link    *link
	breaker *breaker
	slots   chan struct{}
	scripts sync.Map // of the text of each script to its *rueidis.Lua
}

// Open returns a client of the Redis at a URL of the form
//
//	redis://[user][:password@]host[:port][/database]
//
// or rediss: for TLS. It fails only for what can never work; whether Redis can be reached shows later. No error
// holds the password.
func Open(url string, o Options) (*Client, error) {
	if o.Now == nil {
		return nil, errors.New("redis: Options.Now is missing")
	}
	addr, err := parseURL(url)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	o.ReadTimeout = orDefault(o.ReadTimeout, DefaultReadTimeout)
	o.WriteTimeout = orDefault(o.WriteTimeout, DefaultWriteTimeout)
	o.ConnectTimeout = orDefault(o.ConnectTimeout, DefaultConnectTimeout)
	o.Cooldown = orDefault(o.Cooldown, DefaultCooldown)
	if o.Failures <= 0 {
		o.Failures = DefaultFailures
	}
	return &Client{
		name:    addr.String(),
		options: o,
		link:    newLink(addr, o),
		breaker: newBreaker(o.Failures, o.Cooldown, o.Now),
		slots:   make(chan struct{}, maxCalls),
	}, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Close ends the connection. Calls under way and later ones fail with ErrUnavailable.
func (c *Client) Close() { c.link.close() }

// String names the Redis without its password.
func (c *Client) String() string { return c.name }

// LogValue is String for slog.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.name) }

// State returns the state of the breaker, for health and metrics.
func (c *Client) State() State { return c.breaker.State() }

// do makes one call. run may be repeated when the connection turned out to be gone before anything was sent.
func (c *Client) do(ctx context.Context, op string, limit time.Duration, run func(context.Context, rueidis.Client) error) error {
	result, err := c.attempt(ctx, limit, run)
	if c.options.Observe != nil {
		c.options.Observe(op, result)
	}
	if err != nil {
		return fmt.Errorf("redis %s: %w", op, err)
	}
	return nil
}

// The results that Observe is told.
const (
	resultOK       = "ok"
	resultOpen     = "open"
	resultBusy     = "busy"
	resultTimeout  = "timeout"
	resultCanceled = "canceled"
	resultGarbage  = "garbage"
	resultError    = "error"
)

func (c *Client) attempt(parent context.Context, limit time.Duration, run func(context.Context, rueidis.Client) error) (string, error) {
	if err := parent.Err(); err != nil {
		return resultCanceled, err
	}
	permit, ok := c.breaker.allow()
	if !ok {
		return resultOpen, errOpen
	}
	ctx := newBudget(parent, limit)
	defer ctx.end()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		c.breaker.record(permit, inconclusive)
		return resultBusy, errBusy
	}
	err := c.exchange(ctx, run) //nolint:contextcheck // a connection outlives the call that needed it first
	result, outcome, err := judge(parent, limit, err)
	if opened := c.breaker.record(permit, outcome); opened {
		c.link.renew()
	}
	return result, err
}

// exchange runs one call on the connection.
func (c *Client) exchange(ctx context.Context, run func(context.Context, rueidis.Client) error) error {
	for again := true; ; again = false {
		s, err := c.link.session(ctx)
		if err != nil {
			return err
		}
		err = safely(func() error { return run(ctx, s.client) })
		if broken(ctx, err) {
			c.link.drop(s)
		}
		if !again || !errors.Is(err, errGone) {
			return err
		}
	}
}

// safely turns a panic of the library, over an answer of a shape that it does not expect, into an error.
func safely(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errGarbage, p)
		}
	}()
	return run()
}

// broken reports whether an error is one of the connection, which then is of no use any more.
func broken(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil {
		return false
	}
	_, answered := rueidis.IsRedisErr(err)
	return !answered
}

// judge says what a call's error means: for metrics, for the breaker and for the caller.
func judge(parent context.Context, limit time.Duration, err error) (result string, o outcome, _ error) {
	answer, answered := rueidis.IsRedisErr(err)
	switch {
	case err == nil || answered && answer.IsNil():
		return resultOK, success, nil
	case answered && hasPrefix(answer, "WRONGTYPE"):
		return resultGarbage, success, fmt.Errorf("%w: %w", ErrWrongType, err)
	case answered:
		return resultError, failure, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case parent.Err() != nil:
		return resultCanceled, inconclusive, fmt.Errorf("%w: %w", ErrUnavailable, parent.Err())
	case errors.Is(err, errGarbage):
		return resultGarbage, failure, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, context.DeadlineExceeded):
		return resultTimeout, failure, fmt.Errorf("%w: no answer within %s", ErrUnavailable, limit)
	default:
		return resultError, failure, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

func hasPrefix(answer *rueidis.RedisError, code string) bool {
	text := answer.Error()
	return len(text) >= len(code) && text[:len(code)] == code
}
