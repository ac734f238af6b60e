package rediscache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// An environment's feed is three keys: the index, which is the commit time of its newest change; the changes,
// a sorted set of the ids of changed records by the time of their last change, in which the empty id stands
// for the time since when it is complete; and the writers on their way. While there are any, there is no
// index. A change costs as much as finding its place in the sorted set.
func indexKey(env string) string       { return "registry:" + env + ":index" }
func changesKey(env string) string     { return "registry:" + env + ":changes" }
func feedWritersKey(env string) string { return "registry:" + env + ":writers" }

const (
	// maxRecent is how many changes a feed keeps.
	maxRecent = 10_000
	// feedLife is how long a feed without changes is kept: as long as the store keeps tombstones.
	feedLife = 24 * time.Hour
	// feedSkew is how far the clocks of those who commit may be apart, for a feed that is made anew: it is complete
	// from that much later on than now.
	feedSkew = time.Second
	// indexLocal is how long an index may be taken from this process's memory.
	indexLocal = time.Second
)

// ErrUnknown says that Redis cannot tell what has changed: the store has to be asked.
var ErrUnknown = errors.New("not known to Redis")

// Index returns the commit time of the newest change to an environment's records. Most of the time it comes
// from this process's memory.
//
// While it stays the same, nothing has changed that was committed by a process which could reach Redis; what
// others committed shows with the next change, and when Observe is told of it. So it may spare most readings of
// the store, not all of them. Whoever means to compare with it reads it before the store, and takes any other
// index, an older one too, for a change: Redis may have lost the newest.
func (s *Store) Index(ctx context.Context, env string) (store.Position, error) {
	raw, ok, err := s.redis.GetCached(ctx, indexKey(env), indexLocal)
	if err != nil {
		return 0, fmt.Errorf("index of %s: %w", env, err)
	}
	at, valid := position(string(raw))
	if !ok || !valid {
		return 0, fmt.Errorf("index of %s: %w", env, ErrUnknown)
	}
	return at, nil
}

// ChangedSince returns the ids of the records of an environment that have changed after a time, deleted ones
// among them, oldest change first, and the index up to which that is all. It returns ErrUnknown where Redis does
// not remember as far back, where there are more than limit, and while a commit is under way.
func (s *Store) ChangedSince(ctx context.Context, env string, since store.Position, limit int) ([]string, store.Position, error) {
	limit = min(max(0, limit), maxRecent)
	got, err := s.redis.Run(ctx, sinceScript, []string{indexKey(env), changesKey(env)},
		[]string{strconv.FormatInt(int64(since), 10), strconv.Itoa(limit + 1)})
	if err != nil {
		return nil, 0, fmt.Errorf("changes of %s: %w", env, err)
	}
	if len(got) == 0 || len(got) > limit+1 {
		return nil, 0, fmt.Errorf("changes of %s: %w", env, ErrUnknown)
	}
	at, valid := position(got[0])
	if !valid {
		return nil, 0, fmt.Errorf("changes of %s: %w", env, ErrUnknown)
	}
	ids := slices.DeleteFunc(got[1:], func(id string) bool {
		return store.Ref{Collection: store.Services, ID: id}.Validate() != nil
	})
	return ids, at, nil
}

func position(text string) (store.Position, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return store.Position(n), err == nil && n > 0
}

// Observe brings Redis in step with documents that others have committed, such as those that a change event
// brings: older records go, and the feeds learn of the changes. It may be told anything any number of times, in
// any order.
func (s *Store) Observe(ctx context.Context, docs ...store.Document) error {
	for chunk := range slices.Chunk(docs, readChunk) {
		w := &writer{token: rand.Text()}
		var changes []change
		for _, doc := range chunk {
			if doc.Ref.Collection != store.Services || doc.Generation < 1 {
				continue
			}
			s.seen(doc)
			c := s.changeOf(doc)
			changes = append(changes, c)
			w.addFeeds(s.feedsOf(c.environment))
		}
		if len(changes) == 0 {
			continue
		}
		if err := s.leave(ctx, w, changes); err != nil {
			return fmt.Errorf("observe %d changes: %w", len(changes), err)
		}
	}
	return nil
}
