package register

import (
	"context"

	"github.com/isectech/service-networking/shared/platform/boot"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store/firestorestore"
)

// backEnds opens what the function rests on in production: Firestore, Pub/Sub and, where there is one, Redis.
// None of them is waited for.
func backEnds(ctx context.Context, env boot.Env, cfg Config) (Deps, error) {
	deps := Deps{Now: env.Now, Logger: env.Logger, Metrics: telemetry.NewMetrics(), Told: NewToldHere(env.Now)}
	documents, err := firestorestore.Open(ctx, cfg.Project, env.Now)
	if err != nil {
		return deps, err
	}
	env.OnShutdown("firestore", documents.Close)
	deps.Store = documents
	publisher, err := events.NewPubSub(ctx, cfg.Project)
	if err != nil {
		return deps, err
	}
	env.OnShutdown("pubsub", publisher.Close)
	deps.Publisher, deps.DNS = publisher, cfg.ManagedZone()
	if cfg.RedisURL.IsZero() {
		return deps, nil
	}
	cache, err := redis.Open(cfg.RedisURL.Reveal(), redis.Options{Now: env.Now, Observe: deps.Metrics.RedisCall})
	if err != nil {
		return deps, config.Faultf("REDIS_URL", "%v", err)
	}
	env.OnShutdown("redis", func(context.Context) error { cache.Close(); return nil })
	deps.SharedBy(cache, documents, cfg.Environment, env.Now)
	return deps, nil
}
