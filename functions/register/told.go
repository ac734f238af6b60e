package register

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/redis"
)

// Told remembers which generation of each instance has been told of. It may forget: then something is told
// twice, under the same id.
type Told interface {
	Note(ctx context.Context, id string, generation int64) error
	// Noted returns the newest generation noted for each id, 0 for none.
	Noted(ctx context.Context, ids []string) ([]int64, error)
}

// ToldHere is the Told of a single process.
type ToldHere struct {
	mu          sync.Mutex
	generations map[string]int64
}

// Note implements Told.
func (t *ToldHere) Note(_ context.Context, id string, generation int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.generations == nil {
		t.generations = make(map[string]int64)
	}
	t.generations[id] = max(t.generations[id], generation)
	return nil
}

// Noted implements Told.
func (t *ToldHere) Noted(_ context.Context, ids []string) ([]int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	noted := make([]int64, len(ids))
	for i, id := range ids {
		noted[i] = t.generations[id]
	}
	return noted, nil
}

// ToldShared is the Told of all instances together: one hash, of which a change writes one field.
type ToldShared struct {
	Redis       *redis.Client
	Environment auth.Environment // of the deployment
}

// Note implements Told.
func (t *ToldShared) Note(ctx context.Context, id string, generation int64) error {
	const script = `local had = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') or 0
if tonumber(ARGV[2]) > had then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return {}`
	_, err := t.Redis.Run(ctx, script, []string{t.key()}, []string{id, strconv.FormatInt(generation, 10)})
	return err
}

// Noted implements Told.
func (t *ToldShared) Noted(ctx context.Context, ids []string) ([]int64, error) {
	noted := make([]int64, len(ids))
	if len(ids) == 0 {
		return noted, nil
	}
	values, err := t.Redis.Run(ctx, `return redis.call('HMGET', KEYS[1], unpack(ARGV))`, []string{t.key()}, ids)
	if err != nil {
		return nil, err
	}
	if len(values) != len(ids) {
		return nil, fmt.Errorf("%d generations of %d instances: %w", len(values), len(ids), redis.ErrUnavailable)
	}
	for i, v := range values {
		noted[i], _ = strconv.ParseInt(v, 10, 64) // what is no number was not noted
	}
	return noted, nil
}

func (t *ToldShared) key() string { return "registry:" + string(t.Environment) + ":told" }
