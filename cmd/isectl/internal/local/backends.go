package local

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/shared/store/firestorestore"
)

// backends are what the platform rests on: embedded in this process, or an emulator or a server where the
// environment names one.
type backends struct {
	*bootstrap.Platform
	db      *boltstore.DB // nil with a Firestore emulator
	redis   *redis.Client // nil: none is used
	metrics *telemetry.Metrics
	closers []func() error
}

// open opens the back ends of a directory, which nobody else may have open.
func open(ctx context.Context, dir Dir, now Clock, base config.Base) (*backends, error) {
	if err := dir.Prepare(); err != nil {
		return nil, err
	}
	b := &backends{metrics: telemetry.NewMetrics()}
	if err := b.open(ctx, dir, now, base); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *backends) open(ctx context.Context, dir Dir, now Clock, base config.Base) error {
	documents, err := b.openStore(ctx, dir, now, base)
	if err != nil {
		return err
	}
	server, err := secretserver.Open(dir.Secrets(), now)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, server.Close)
	client, err := server.Client(ctx)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, client.Close)
	if !base.RedisURL.IsZero() {
		if b.redis, err = redis.Open(base.RedisURL.Reveal(), redis.Options{Now: now, Observe: b.metrics.RedisCall}); err != nil {
			return config.Faultf("REDIS_URL", "%v", err)
		}
		b.closers = append(b.closers, func() error { b.redis.Close(); return nil })
	}
	b.Platform = &bootstrap.Platform{
		Store: documents, Secrets: client, Now: now,
		Actor: auth.MustSubject("operator:" + operatorMail), Cause: "first start of the local platform",
	}
	return nil
}

func (b *backends) openStore(ctx context.Context, dir Dir, now Clock, base config.Base) (store.Store, error) {
	if base.FirestoreEmulator != "" {
		documents, err := firestorestore.Open(ctx, cmp.Or(base.Project, project), now)
		if err != nil {
			return nil, err
		}
		b.closers = append(b.closers, func() error { return documents.Close(ctx) })
		return documents, nil
	}
	var err error
	b.db, err = boltstore.Open(dir.Store(), boltstore.Options{Now: now, Log: []string{store.Services}})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.db.Close)
	return b.db, nil
}

// close closes them, the last opened first.
func (b *backends) close() error {
	var errs []error
	for _, c := range slices.Backward(b.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
