package register

import (
	"time"

	"github.com/isectech/service-networking/shared/platform/config"
)

// Config is what the function reads from its environment, once.
type Config struct {
	config.Base

	AuthzURL      string                  `env:"AUTHZ_URL, default=https://api.isectech.com" desc:"Where the authorizer is reached, which judges request signatures."`
	AllowLoopback bool                    `env:"ALLOW_LOOPBACK, default=false" desc:"Whether endpoints on this machine may be registered, in the development environment alone."`
	MaxStale      config.PositiveDuration `env:"REGISTRY_MAX_STALE, default=24h" desc:"How old an answer may be while the store is out of reach."`
}

// minInterval is the shortest interval of a health check: that of the platform's own grain, and a second
// on one machine.
func (c *Config) minInterval() time.Duration {
	if c.AllowLoopback {
		return time.Second
	}
	return 5 * time.Second
}
