package register

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
)

// SharedBy has instances share what they know in Redis: each commit keeps the records there in step, and whether
// there is anything new is asked there before the store is read. Whatever decides a write is read from the
// store itself.
func (d *Deps) SharedBy(cache *redis.Client, inner store.Store, env auth.Environment, now func() time.Time) {
	names := make([]string, 0, len(auth.Environments()))
	for _, e := range auth.Environments() {
		names = append(names, string(e))
	}
	records := rediscache.New(inner, cache, rediscache.Options{Now: now, Environments: names})
	d.Store = records.Uncached()
	d.Told = &ToldShared{Redis: cache, Environment: env, Now: now}
	d.Share = func(ctx context.Context, doc store.Document) error { return records.Observe(ctx, doc) }
	d.Copy = rediscache.NewCopy(inner, cache, string(env), now)
	d.Version = func(ctx context.Context) (string, bool) { return version(ctx, records, names) }
}

// version changes with every change of a record that Redis knows of. While commits are under way it is not
// known: two moments of which nothing is known are not the same.
func version(ctx context.Context, records *rediscache.Store, environments []string) (string, bool) {
	var b strings.Builder
	for _, env := range environments {
		at, err := records.Index(ctx, env)
		if errors.Is(err, rediscache.ErrUnknown) {
			var untouched bool
			if untouched, err = records.Untouched(ctx, env); err == nil && !untouched {
				return "", false
			}
		}
		if err != nil {
			return "", false
		}
		b.WriteString(strconv.FormatInt(int64(at), 10) + " ") // 0 of an environment that nothing happens in
	}
	return b.String(), true
}

// keepCopy brings the copy that processes begin with up to date. Failing that they read the store.
func (s *Service) keepCopy(ctx context.Context) {
	if s.deps.Copy == nil {
		return
	}
	if err := s.deps.Copy.Update(ctx); err != nil {
		s.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "copy of the registry not kept", slog.String("error", err.Error()))
		return
	}
	s.deps.Metrics.Succeeded("registry_copy", s.deps.Now())
}
