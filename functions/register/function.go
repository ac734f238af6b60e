package register

import (
	"context"
	"net/http"

	// The buildpack wants to read both here: the server, and that functions register themselves.
	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	_ "github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/isectech/service-networking/shared/platform/boot"
	"github.com/isectech/service-networking/shared/platform/config"
)

func init() {
	boot.HTTP(FunctionName, entry((*Service).Handler))
	boot.HTTP(CommandName, entry((*Service).Commands))
	boot.HTTP(ChangedName, entry((*Service).Changes))
}

// entry is the composition root of a deployed function.
func entry(face func(*Service) http.Handler) boot.Build {
	return func(ctx context.Context, env boot.Env) (http.Handler, error) {
		var cfg Config
		if err := config.Load(env.Lookup, &cfg); err != nil {
			return nil, err
		}
		deps, err := backEnds(ctx, env, cfg)
		if err != nil {
			return nil, err
		}
		s, err := New(cfg, deps)
		if err != nil {
			return nil, err
		}
		env.OnShutdown("security events", s.Flush) // before what they are published with
		return face(s), nil
	}
}
