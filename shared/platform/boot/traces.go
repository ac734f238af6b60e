package boot

import (
	"os"

	"github.com/isectech/service-networking/shared/platform/tracing"
)

// startTraces records spans from now on if the configuration says so. What ends it is registered before any
// function is built, and so runs after whatever a function registers: closing makes spans too.
func (p *process) startTraces() error {
	stop, err := tracing.Configure(p.ctx, tracing.Environment{
		Lookup: p.env.Lookup, Now: p.env.Now, Logger: p.env.Logger, Console: os.Stdout, Service: p.service("isectech"),
	})
	if err != nil {
		return err
	}
	p.onShutdown("traces", stop)
	return nil
}
