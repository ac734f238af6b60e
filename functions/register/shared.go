package register

import (
	"context"
	"errors"
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
	d.Told = &ToldShared{Redis: cache, Environment: env}
	d.Share = func(ctx context.Context, doc store.Document) error { return records.Observe(ctx, doc) }
	d.Version = func(ctx context.Context) (string, bool) { return version(ctx, records, names) }
}

// version changes with every change of a record that Redis knows of.
func version(ctx context.Context, records *rediscache.Store, environments []string) (string, bool) {
	var b strings.Builder
	for _, env := range environments {
		at, err := records.Index(ctx, env)
		if err != nil && !errors.Is(err, rediscache.ErrUnknown) {
			return "", false
		}
		b.WriteString(strconv.FormatInt(int64(at), 10) + " ") // 0 while nothing is known of an environment
	}
	return b.String(), true
}
