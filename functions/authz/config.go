package authz

import (
	"errors"
	"time"

	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/platform/config"
)

// Config is what the function reads from its environment, once.
type Config struct {
	config.Base

	TokenLifetime config.PositiveDuration `env:"TOKEN_LIFETIME, default=10m" desc:"How long an access token is valid, at most 15m."`
	RateLimit     ratelimit.Limit         `env:"RATE_LIMIT, default=1000/1m" desc:"How many requests a service (in one environment) or an operator may ask, and in what time, where the policy does not say; 0 or off: any number."`
	AllowLogRate  float64                 `env:"ALLOW_LOG_RATE, default=0.01" desc:"Share of the allowing decisions that get a log line, 0 to 1; denials always get one."`
	Audience      string                  `env:"AUTHZ_AUDIENCE, default=isectech-authz" desc:"Audience of the ID tokens that are exchanged for access tokens."`
	URL           string                  `env:"AUTHZ_URL, default=https://api.isectech.com" desc:"Where the authorizer is reached; its metadata (RFC 8414) says so."`
}

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	var errs []error
	if d := c.TokenLifetime.Duration(); d < time.Minute || d > 15*time.Minute {
		errs = append(errs, config.Faultf("TOKEN_LIFETIME", "want 1m to 15m"))
	}
	if c.AllowLogRate < 0 || c.AllowLogRate > 1 {
		errs = append(errs, config.Faultf("ALLOW_LOG_RATE", "want 0 to 1"))
	}
	return errors.Join(errs...)
}
