package authz

import (
	"context"
	"net/http"

	// The buildpack wants to read both here: the server, and that functions register themselves.
	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	_ "github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/isectech/service-networking/shared/platform/boot"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store/firestorestore"
)

func init() { boot.HTTP("Authz", build) }

// build is the composition root of the deployed function.
func build(ctx context.Context, env boot.Env) (http.Handler, error) {
	var cfg Config
	if err := config.Load(env.Lookup, &cfg); err != nil {
		return nil, err
	}
	documents, err := firestorestore.Open(ctx, cfg.Project, env.Now)
	if err != nil {
		return nil, err
	}
	env.OnShutdown("firestore", documents.Close)
	vault, err := secrets.New(ctx, cfg.Project)
	if err != nil {
		return nil, err
	}
	env.OnShutdown("secret manager", func(context.Context) error { return vault.Close() })
	deps := Deps{Store: documents, Secrets: vault, Now: env.Now, Logger: env.Logger, Metrics: telemetry.NewMetrics()}
	return New(cfg, deps).Handler(), nil
}
