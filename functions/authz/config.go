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
	IDTokenIssuer string                  `env:"ID_TOKEN_ISSUER, default=https://accounts.google.com" desc:"Issuer of the ID tokens that are exchanged for access tokens."`
	IDTokenKeys   string                  `env:"ID_TOKEN_JWKS_URL, default=https://www.googleapis.com/oauth2/v3/certs" desc:"Where that issuer publishes its keys: an https URL, or http on the same machine."`
	URL           string                  `env:"AUTHZ_URL, default=https://api.isectech.com" desc:"Where the authorizer is reached; its metadata (RFC 8414) says so."`

	LegacyHS256        bool  `env:"LEGACY_HS256, default=false" desc:"Accept access tokens that old clients sign with the secret isectech-jwt-access-secret. Every holder of it can speak for every service: for the time of a migration only."`
	LegacyHS256Version int64 `env:"LEGACY_HS256_VERSION, default=1" desc:"Version of that secret; the tokens name it as kid k1, k2, …"`
	LegacyAPIKeys      bool  `env:"LEGACY_API_KEYS, default=false" desc:"Accept API keys that sign nothing but their service's name, for discovery alone. Whoever sees such a request can repeat it: for the time of a migration only."`
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
	if c.LegacyHS256Version < 1 {
		errs = append(errs, config.Faultf("LEGACY_HS256_VERSION", "want 1 or more"))
	}
	return errors.Join(errs...)
}
