package local

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// Bootstrap makes whatever trust rests on, in the directory of a platform that is not running.
func Bootstrap(ctx context.Context, dir Dir, now Clock) (parts []bootstrap.Part, err error) {
	b, err := open(ctx, dir, now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	return firstStart(ctx, b.Platform)
}

// firstStart makes whatever has no record yet, as an operator would by `isectl bootstrap` and by
// `isectl service add` for each service of the shipped policy.
func firstStart(ctx context.Context, boot *bootstrap.Platform) ([]bootstrap.Part, error) {
	doc := defaultPolicy()
	parts, err := boot.Run(ctx, doc)
	if err != nil {
		return parts, err
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Services)) {
		created, err := boot.AddAPIKey(ctx, auth.MustSubject(name))
		if err != nil {
			return parts, err
		}
		parts = append(parts, bootstrap.Part{Name: name + " API key", Created: created})
	}
	return parts, nil
}

// backends are the embedded back ends of a directory.
type backends struct {
	*bootstrap.Platform
	db      *boltstore.DB
	closers []func() error
}

// open opens the embedded back ends of a directory, which nobody else may have open.
func open(ctx context.Context, dir Dir, now Clock) (*backends, error) {
	if err := dir.Prepare(); err != nil {
		return nil, err
	}
	b := new(backends)
	if err := b.open(ctx, dir, now); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *backends) open(ctx context.Context, dir Dir, now Clock) (err error) {
	if b.db, err = boltstore.Open(dir.Store(), boltstore.Options{Now: now}); err != nil {
		return err
	}
	b.closers = append(b.closers, b.db.Close)
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
	b.Platform = &bootstrap.Platform{
		Store: b.db, Secrets: client, Now: now,
		Actor: auth.MustSubject("operator:" + operatorMail), Cause: "first start of the local platform",
	}
	return nil
}

// close closes them, the last opened first.
func (b *backends) close() error {
	var errs []error
	for _, c := range slices.Backward(b.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
