package rediscache

import (
	"context"
	"fmt"
)

// untouchedScript counts the keys of a feed that are there.
const untouchedScript = `return {tostring(redis.call('EXISTS', unpack(KEYS)))}`

// Untouched reports whether Redis knows nothing at all of an environment: that of no commit to its records, over
// or under way, it has heard. It tells the one case in which Index has nothing to say because nothing happens
// from those in which too much does: while commits are under way, or a feed is too young to be complete, there
// is no index either.
func (s *Store) Untouched(ctx context.Context, env string) (bool, error) {
	got, err := s.redis.Run(ctx, untouchedScript, []string{indexKey(env), changesKey(env), feedWritersKey(env)}, nil)
	if err != nil {
		return false, fmt.Errorf("feed of %s: %w", env, err)
	}
	return len(got) == 1 && got[0] == "0", nil
}
