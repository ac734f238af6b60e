package ratelimit

import (
	"context"
	"math"
	"sync"
	"time"
)

// numShards is how many parts the memory has, each with a lock of its own; a power of two.
const numShards = 64

// Memory keeps the callers of this process, in bounded memory. It forgets a caller only when its TAT has passed,
// which loses nothing: who is unknown stands the same. When it is full of callers that may not be forgotten,
// newcomers share one TAT a shard, so that they may be refused early, and nobody's count begins anew.
type Memory struct {
	now    func() time.Time
	perMax int // callers a shard
	shards [numShards]shard
}

type shard struct {
	mu       sync.Mutex
	tats     map[Key]*int64
	soonest  int64 // no caller's TAT passes before
	overflow int64 // the TAT of all that found no room
}

// NewMemory returns a memory for about limit callers, some 200 bytes each.
func NewMemory(limit int, now func() time.Time) *Memory {
	m := &Memory{now: now, perMax: max(limit/numShards, 1)}
	for i := range m.shards {
		m.shards[i].tats = make(map[Key]*int64)
		m.shards[i].soonest = math.MaxInt64
	}
	return m
}

// Take counts a request and decides on it. A limit of zero lets it through and counts nothing.
func (m *Memory) Take(_ context.Context, key Key, limit Limit) Decision {
	if limit.IsZero() {
		return Decision{Allowed: true}
	}
	now := m.now().UnixNano()
	s := &m.shards[(key.Caller.Hash()+3*key.Target.Hash())%numShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	tat, ok := s.tats[key]
	if !ok {
		tat = s.admit(key, now, m.perMax)
	}
	d, next := limit.Ask(*tat, now)
	*tat = next
	s.soonest = min(s.soonest, next)
	return d
}

// admit returns where the TAT of a newcomer is kept.
func (s *shard) admit(key Key, now int64, limit int) *int64 {
	if len(s.tats) >= limit {
		s.sweep(now)
	}
	if len(s.tats) >= limit {
		return &s.overflow
	}
	tat := new(int64)
	s.tats[key] = tat
	return tat
}

// sweep forgets those whose TAT has passed, without looking while none can have.
func (s *shard) sweep(now int64) {
	if s.soonest > now {
		return
	}
	s.soonest = math.MaxInt64
	for key, tat := range s.tats {
		if *tat <= now {
			delete(s.tats, key)
		} else {
			s.soonest = min(s.soonest, *tat)
		}
	}
}

// Len returns how many callers are held, among them such as could be forgotten and were not yet.
func (m *Memory) Len() int {
	n := 0
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].tats)
		m.shards[i].mu.Unlock()
	}
	return n
}
