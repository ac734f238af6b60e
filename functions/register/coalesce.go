package register

import (
	"context"
	"sync"
)

// coalescer does work of a key for all who ask for it while it has not begun: each is served by a run that began after
// it had asked, and no two of one key are under way at once. The zero coalescer is ready.
type coalescer struct {
	mu      sync.Mutex
	waiting map[string]*run // not begun
	current map[string]*run // the last that began
}

type run struct {
	done chan struct{}
	err  error
}

// do waits for a run, or makes it. A run has the context of who makes it; where that ends first, the others get its
// error too.
func (c *coalescer) do(ctx context.Context, key string, work func(context.Context) error) error {
	c.mu.Lock()
	if r := c.waiting[key]; r != nil {
		c.mu.Unlock()
		return r.wait(ctx)
	}
	mine := &run{done: make(chan struct{}), err: context.Canceled} // should the work panic
	if c.waiting == nil {
		c.waiting, c.current = make(map[string]*run), make(map[string]*run)
	}
	before := c.current[key]
	c.waiting[key] = mine
	c.mu.Unlock()
	if before != nil {
		<-before.done // bounded by its request's time
	}
	c.mu.Lock()
	delete(c.waiting, key)
	c.current[key] = mine
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		if c.current[key] == mine {
			delete(c.current, key)
		}
		c.mu.Unlock()
		close(mine.done)
	}()
	mine.err = work(ctx)
	return mine.err
}

func (r *run) wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
