package rediscache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// Update brings the copy up to date with the store, by what has changed since, or where it is in doubt by all there
// is. Of several at once one succeeds, and what the others leave in doubt the next makes anew.
func (c *Copy) Update(ctx context.Context) error {
	now := c.now()
	a, err := c.anchor(ctx)
	if err == nil {
		err = c.revise(ctx, a, now)
	}
	if errors.Is(err, ErrUnknown) {
		err = c.remake(ctx, a.generation, now)
	}
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// revise takes in what has changed.
func (c *Copy) revise(ctx context.Context, a anchor, now time.Time) error {
	changed := make(map[int][]store.Document)
	next := anchor{At: now.UnixMicro(), Position: a.Position, Digests: slices.Clone(a.Digests), generation: a.generation}
	for doc, err := range c.inner.Changes(ctx, store.Services, a.Position) {
		if err != nil {
			return fmt.Errorf("copy of %s: %w", c.env, err)
		}
		next.Position = max(next.Position, doc.Position())
		changed[partOf(doc.Ref.ID)] = append(changed[partOf(doc.Ref.ID)], doc)
	}
	var unknown error
	for part, value := range c.values(ctx, a, &unknown) { // all of them: one that Redis has lost may be one that nothing changes in
		if len(changed[part]) == 0 {
			continue
		}
		records, ok := split(part, value)
		if !ok {
			return fmt.Errorf("copy of %s: part %d: %w", c.env, part, ErrUnknown)
		}
		for _, doc := range changed[part] {
			if delete(records, doc.Ref.ID); doc.Live(now) {
				records[doc.Ref.ID] = kept{raw: encodeRecord(doc)}
			}
		}
		if err := c.put(ctx, &next, part, records); err != nil {
			return err
		}
	}
	if unknown != nil {
		return unknown
	}
	if next.Position == a.Position && slices.Equal(next.Digests, a.Digests) && now.Sub(time.UnixMicro(a.At)) < anchorRenewed {
		return nil
	}
	return c.commit(ctx, next)
}

// remake makes the copy of all there is.
func (c *Copy) remake(ctx context.Context, generation int64, now time.Time) error {
	if _, err := c.redis.GetAll(ctx, []string{c.partKey(0)}); err != nil { // or else all is read for nothing
		return fmt.Errorf("copy of %s: %w", c.env, err)
	}
	next := anchor{At: now.UnixMicro(), Digests: make([]string, parts), generation: generation}
	var all [parts]map[string]kept
	size := 0
	for doc, err := range c.inner.Changes(ctx, store.Services, 0) {
		if err != nil {
			return fmt.Errorf("copy of %s: %w", c.env, err)
		}
		next.Position = max(next.Position, doc.Position())
		if !doc.Live(now) {
			continue
		}
		raw, part := encodeRecord(doc), partOf(doc.Ref.ID)
		if all[part] == nil {
			all[part] = make(map[string]kept)
		}
		all[part][doc.Ref.ID] = kept{raw: raw}
		if size += len(raw); size > maxCopy {
			none := anchor{At: next.At, TooLarge: true, generation: generation}
			return errors.Join(fmt.Errorf("copy of %s: %w", c.env, ErrTooLarge), c.commit(ctx, none))
		}
	}
	for part, records := range &all {
		if err := c.put(ctx, &next, part, records); err != nil {
			return err
		}
	}
	return c.commit(ctx, next)
}

// putScript puts a part in place, or takes an empty one away. ARGV: the part, its life in ms.
const putScript = `
if ARGV[1] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return {}`

// put writes a part that is not yet what it should be, and notes in the anchor what it is.
func (c *Copy) put(ctx context.Context, next *anchor, part int, records map[string]kept) error {
	var value []byte
	for _, id := range slices.Sorted(maps.Keys(records)) {
		value = append(append(value, records[id].raw...), '\n')
	}
	was := next.Digests[part]
	if next.Digests[part] = digest(value); next.Digests[part] == was {
		return nil
	}
	if _, err := c.redis.Run(ctx, putScript, []string{c.partKey(part)}, []string{string(value), millis(partLife)}); err != nil {
		return fmt.Errorf("copy of %s: %w", c.env, err)
	}
	return nil
}

// commit makes an anchor the one in force, if the one before still is.
func (c *Copy) commit(ctx context.Context, next anchor) error {
	condition := store.Absent()
	if next.generation > 0 {
		condition = store.AtGeneration(next.generation)
	}
	_, err := c.inner.Commit(ctx, store.Batch{
		Writes: []store.Write{{Ref: c.anchorRef(), Data: next, ExpiresAt: time.UnixMicro(next.At).Add(anchorLife), If: condition}},
		Actor:  "registry-copy", Cause: "registry-copy",
	})
	if err != nil {
		return fmt.Errorf("copy of %s: %w", c.env, err)
	}
	return nil
}
