package register

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/redis"
)

// Told remembers which generation of each instance has been told of, for as long as the sweep looks back. It may
// forget: then something is told twice, under the same id.
type Told interface {
	Note(ctx context.Context, id string, generation int64) error
	// Noted returns the newest generation noted for each id, 0 for none.
	Noted(ctx context.Context, ids []string) ([]int64, error)
}

// toldFor is how long what was noted counts at least: as far back as the sweep looks. It counts for less than
// twice that.
const toldFor = sweepBack

// span numbers the spans of toldFor, of which the present one and the one before count.
func span(now time.Time) int64 { return now.Unix() / int64(toldFor/time.Second) }

// ToldHere is the Told of a single process.
type ToldHere struct {
	now func() time.Time

	mu              sync.Mutex
	span            int64 // that present is of
	present, before map[string]int64
}

// NewToldHere returns a ToldHere that has noted nothing.
func NewToldHere(now func() time.Time) *ToldHere { return &ToldHere{now: now} }

// Note implements Told.
func (t *ToldHere) Note(_ context.Context, id string, generation int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn()
	t.present[id] = max(t.present[id], generation)
	return nil
}

// Noted implements Told.
func (t *ToldHere) Noted(_ context.Context, ids []string) ([]int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn()
	noted := make([]int64, len(ids))
	for i, id := range ids {
		noted[i] = max(t.present[id], t.before[id])
	}
	return noted, nil
}

// turn lets go of what no longer counts.
func (t *ToldHere) turn() {
	now := span(t.now())
	if t.present != nil && now == t.span {
		return
	}
	if t.before = nil; now == t.span+1 {
		t.before = t.present
	}
	t.span, t.present = now, make(map[string]int64)
}

// ToldShared is the Told of all instances together: a hash for each span of time, of which a change writes one
// field, and which Redis lets go of in time.
type ToldShared struct {
	Redis       *redis.Client
	Environment auth.Environment // of the deployment
	Now         func() time.Time
}

// Note implements Told.
func (t *ToldShared) Note(ctx context.Context, id string, generation int64) error {
	const script = `if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local had = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') or 0
if tonumber(ARGV[2]) > had then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {}`
	const keep = 3 * toldFor / time.Second // from its first moment to its last, with room for clocks that differ
	_, err := t.Redis.Run(ctx, script, []string{t.key(span(t.Now()))},
		[]string{id, strconv.FormatInt(generation, 10), strconv.Itoa(int(keep))})
	return err
}

// Noted implements Told.
func (t *ToldShared) Noted(ctx context.Context, ids []string) ([]int64, error) {
	const script = `local noted = {}
for _, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'hash' then
    for i, g in ipairs(redis.call('HMGET', key, unpack(ARGV))) do
      if (tonumber(g or '0') or 0) > (tonumber(noted[i] or '0') or 0) then noted[i] = g end
    end
  end
end
for i = 1, #ARGV do noted[i] = noted[i] or '0' end
return noted`
	noted := make([]int64, len(ids))
	if len(ids) == 0 {
		return noted, nil
	}
	present := span(t.Now())
	values, err := t.Redis.Run(ctx, script, []string{t.key(present), t.key(present - 1)}, ids)
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

func (t *ToldShared) key(span int64) string {
	return "registry:" + string(t.Environment) + ":told:" + strconv.FormatInt(span, 10)
}
