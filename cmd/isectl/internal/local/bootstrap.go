package local

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/config"
)

// Bootstrap makes whatever trust rests on, in the directory of a platform that is not running.
func Bootstrap(ctx context.Context, dir Dir, now Clock) (parts []bootstrap.Part, err error) {
	b, err := open(ctx, dir, now, config.Base{})
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
