package secrets

import (
	"context"
	"sync"
	"time"
)

// Accessor reads a version of a secret; Client is one.
type Accessor interface {
	Access(ctx context.Context, name string, version int64) (Value, error)
}

// Cache remembers payloads that were read. A version's payload never changes, so an answer can only be
// wrong about the version having been disabled or destroyed since, and no older than the cache's age.
// Errors are not remembered. It is safe for concurrent use.
type Cache struct {
	source Accessor
	size   int
	maxAge time.Duration
	now    func() time.Time

	mu      sync.Mutex
	entries map[cacheKey]cacheEntry
}

type cacheKey struct {
	name    string
	version int64
}

type cacheEntry struct {
	value Value
	read  time.Time
}

// NewCache returns a cache of at most size payloads, each for at most maxAge.
func NewCache(source Accessor, size int, maxAge time.Duration, now func() time.Time) *Cache {
	return &Cache{source: source, size: size, maxAge: maxAge, now: now, entries: make(map[cacheKey]cacheEntry, size)}
}

// Access returns the payload from the cache or its source.
func (c *Cache) Access(ctx context.Context, name string, version int64) (Value, error) {
	key, start := cacheKey{name, version}, c.now()
	c.mu.Lock()
	entry, ok := c.entries[key]
	c.mu.Unlock()
	if ok && start.Sub(entry.read) < c.maxAge {
		return entry.value, nil
	}
	value, err := c.source.Access(ctx, name, version)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.entries, key)
		return Value{}, err
	}
	if _, ok := c.entries[key]; !ok && len(c.entries) >= c.size {
		c.evict()
	}
	c.entries[key] = cacheEntry{value, start}
	return value, nil
}

// evict drops the entry read longest ago.
func (c *Cache) evict() {
	var oldest cacheKey
	first := true
	for key, entry := range c.entries {
		if first || entry.read.Before(c.entries[oldest].read) {
			oldest, first = key, false
		}
	}
	delete(c.entries, oldest)
}
