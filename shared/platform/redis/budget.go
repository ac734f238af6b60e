package redis

import (
	"context"
	"sync"
	"time"
)

// budget is the context of one call. Its time begins to run when somebody first waits for it: a call that is
// answered from this process's memory never does, and spares the timer, which costs more than the answer.
type budget struct {
	context.Context // the caller's
	limit           time.Duration

	mu     sync.Mutex
	timed  context.Context // nil until somebody waits
	cancel context.CancelFunc
}

func newBudget(caller context.Context, limit time.Duration) *budget {
	return &budget{Context: caller, limit: limit}
}

func (b *budget) start() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timed == nil {
		b.timed, b.cancel = context.WithTimeout(b.Context, b.limit)
	}
	return b.timed
}

// end frees what the context holds.
func (b *budget) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel()
	}
}

// Done implements context.Context.
func (b *budget) Done() <-chan struct{} { return b.start().Done() }

// Deadline implements context.Context.
func (b *budget) Deadline() (time.Time, bool) { return b.start().Deadline() }

// Err implements context.Context.
func (b *budget) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timed == nil {
		return b.Context.Err()
	}
	return b.timed.Err()
}
