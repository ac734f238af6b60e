package httpx

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// request is the context of a request that is being served. It knows what WriteError needs, and it has a
// deadline, which counts from when somebody first asks for it, before anything is waited for: most requests are
// answered from memory and need no timer.
type request struct {
	context.Context // that of the connection, with the log scope
	runtime         *runtime
	id              [1]string // in the form that headers have
	timeout         time.Duration

	mu     sync.Mutex // held while timed is made
	timed  atomic.Pointer[timed]
	cancel context.CancelFunc
}

// timed is a context with a timer.
type timed struct{ context.Context }

// ended is the context of a request whose end nobody had waited for.
var ended = func() *timed {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return &timed{ctx}
}()

// limited returns the context with its timer running.
func (c *request) limited() context.Context {
	if t := c.timed.Load(); t != nil {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.timed.Load(); t != nil {
		return t
	}
	ctx, cancel := context.WithTimeout(c.Context, c.timeout)
	c.cancel = cancel
	t := &timed{ctx}
	c.timed.Store(t)
	return t
}

// end ends the context with its request.
func (c *request) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
		return
	}
	c.timed.Store(ended)
}

// Deadline implements context.Context.
func (c *request) Deadline() (time.Time, bool) { return c.limited().Deadline() }

// Done implements context.Context.
func (c *request) Done() <-chan struct{} { return c.limited().Done() }

// Err implements context.Context.
func (c *request) Err() error { return c.limited().Err() }

// Value implements context.Context. It asks the context with the timer where there is one, which is how package
// context finds out that it may hang others below it without a goroutine each.
func (c *request) Value(key any) any {
	if key == (runtimeKey{}) {
		return c.runtime
	}
	if t := c.timed.Load(); t != nil && t != ended {
		return t.Value(key)
	}
	return c.Context.Value(key)
}
