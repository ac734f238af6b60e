package signature

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

// ErrNoncesFull is returned by MemoryNonces when it has no room for another nonce. It never forgets a
// live one to make some.
var ErrNoncesFull = errors.New("nonce memory is full")

// MemoryNonces remembers nonces in this process alone, which is enough where it is the only verifier.
type MemoryNonces struct {
	limit int
	now   func() time.Time

	mu    sync.Mutex
	used  map[string]struct{}
	queue nonceQueue // the same keys, first to expire first
}

// NewMemoryNonces returns a memory for at most limit live nonces, about 200 bytes each.
func NewMemoryNonces(limit int, now func() time.Time) *MemoryNonces {
	return &MemoryNonces{limit: limit, now: now, used: make(map[string]struct{})}
}

// Use implements Nonces. A key is remembered through the instant of until.
func (m *MemoryNonces) Use(_ context.Context, key string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for now := m.now(); len(m.queue) > 0 && m.queue[0].until.Before(now); {
		delete(m.used, m.queue[0].key)
		heap.Pop(&m.queue)
	}
	if _, ok := m.used[key]; ok {
		return ErrReplayed
	}
	if len(m.queue) >= m.limit {
		return ErrNoncesFull
	}
	m.used[key] = struct{}{}
	heap.Push(&m.queue, usedNonce{key, until})
	return nil
}

// Len returns how many nonces are held, among them such as have expired and were not swept yet.
func (m *MemoryNonces) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

type usedNonce struct {
	key   string
	until time.Time
}

// nonceQueue is a heap.Interface.
type nonceQueue []usedNonce

func (q nonceQueue) Len() int           { return len(q) }
func (q nonceQueue) Less(i, j int) bool { return q[i].until.Before(q[j].until) }
func (q nonceQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *nonceQueue) Push(x any) { *q = append(*q, x.(usedNonce)) } //nolint:errcheck // Use alone pushes, and nothing else

// Pop implements heap.Interface.
func (q *nonceQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = usedNonce{} // lets go of the key
	*q = old[:len(old)-1]
	return last
}
