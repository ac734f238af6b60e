package local

import (
	"context"
	"log/slog"
	"time"

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// tickEvery is the grain of the schedule, as Cloud Scheduler's.
const tickEvery = time.Minute

// ticker stands in for Cloud Scheduler and for Firestore's removal of what has expired.
type ticker struct {
	store   store.Store
	db      *boltstore.DB // nil: what expires is removed by others
	sweep   func(context.Context) error
	keys    *signingkeys.Keys
	metrics *telemetry.Metrics
	now     Clock
	logger  *slog.Logger
}

// tick runs every job once a minute until ctx ends.
func tick(ctx context.Context, t *ticker) error {
	beat := time.NewTicker(tickEvery)
	defer beat.Stop()
	for {
		if t.db != nil {
			t.run(ctx, "store_sweep", t.expire)
		}
		t.run(ctx, "registry_sweep", t.sweep)
		t.run(ctx, "certificate_expiry", t.certificates)
		t.run(ctx, "key_rotation", t.rotate)
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
	}
}

// run runs a job. A failed one is logged and comes again with the next tick; its last success stands
// still meanwhile, which is what an alert watches.
func (t *ticker) run(ctx context.Context, job string, do func(context.Context) error) {
	if err := do(ctx); err != nil {
		if ctx.Err() == nil {
			t.logger.LogAttrs(ctx, slog.LevelError, "scheduled job failed", slog.String("job", job), slog.String("error", err.Error()))
		}
		return
	}
	t.metrics.Succeeded(job, t.now())
}

// expire removes what has expired.
func (t *ticker) expire(ctx context.Context) error {
	_, err := t.db.Sweep(ctx)
	return err
}

// rotate takes the steps of a rotation of the signing keys that are due.
func (t *ticker) rotate(ctx context.Context) error {
	report, err := t.keys.Rotate(ctx, signingkeys.Request{Actor: authz.Name, Cause: "schedule"})
	for _, step := range report.Done {
		t.logger.LogAttrs(ctx, slog.LevelInfo, "signing key rotation", slog.String("step", step.Kind), slog.String("kid", step.KeyID))
	}
	return err
}

// certificates measures how long the root CA has left.
func (t *ticker) certificates(ctx context.Context) error {
	doc, err := t.store.Get(ctx, bootstrap.RootCARef)
	if err != nil {
		return err
	}
	var ca bootstrap.Certificate
	if err := doc.Decode(&ca); err != nil {
		return err
	}
	t.metrics.CertificateExpiry("isectech-ca", "ca", ca.NotAfter.Sub(t.now()))
	return nil
}
