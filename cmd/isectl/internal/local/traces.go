package local

import (
	"context"
	"log/slog"
	"time"

	"github.com/isectech/service-networking/shared/platform/tracing"
	_ "github.com/isectech/service-networking/shared/platform/tracing/otlp" // what records spans, where the configuration asks for it
)

// serviceName is the process's name in traces, where each function has its own.
const serviceName = "isectl-dev"

// stopTracing bounds the export of the last spans.
const stopTracing = time.Second

// trace starts to record spans if the environment asks for it. What it returns exports the last ones.
func (o Options) trace(ctx context.Context, logger *slog.Logger) (stop func() error, err error) {
	end, err := tracing.Configure(ctx, tracing.Environment{
		Lookup: o.Lookup, Now: o.Now, Logger: logger, Console: o.Logs, Service: serviceName,
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTracing)
		defer cancel()
		return end(ctx)
	}, nil
}
