package register

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/isectech/service-networking/functions/register/clouddns"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/registry/zone"
)

// Config is what the function reads from its environment, once.
type Config struct {
	config.Base

	AuthzURL      string                  `env:"AUTHZ_URL, default=https://api.isectech.com" desc:"Where the authorizer is reached, which judges request signatures."`
	AllowLoopback bool                    `env:"ALLOW_LOOPBACK, default=false" desc:"Whether endpoints on this machine may be registered, in the development environment alone."`
	MaxStale      config.PositiveDuration `env:"REGISTRY_MAX_STALE, default=24h" desc:"How old an answer may be while the store is out of reach."`
	LapsedKept    config.PositiveDuration `env:"LAPSED_RETENTION, default=24h" desc:"How long a record is kept after its lease has ended. It is not discovered meanwhile, and a heartbeat brings it back."`
	HitLogRate    float64                 `env:"HIT_LOG_RATE, default=0.01" desc:"Share of the look-ups that found what they asked for which get a log line, 0 to 1; all other requests always get one."`
	DNSZone       string                  `env:"DNS_ZONE" desc:"Name of the managed zone of Cloud DNS that RegistryChanged keeps in step, in the same project; its domain is internal.isectech.com. Unless given, none is."`
	DNSTTL        config.PositiveDuration `env:"DNS_TTL, default=30s" desc:"How long resolvers may keep a record, 1s to 5m in whole seconds."`
	CloudDNS      config.HostPort         `env:"CLOUD_DNS_EMULATOR_HOST" desc:"host:port of a stand-in on this machine to use instead of Cloud DNS; refused on Cloud Run."`
}

// Validate checks what concerns several variables, and what the types of the fields leave open.
func (c *Config) Validate() error {
	var errs []error
	if !(c.HitLogRate >= 0 && c.HitLogRate <= 1) { // nor what is no number
		errs = append(errs, config.Faultf("HIT_LOG_RATE", "want 0 to 1"))
	}
	if c.DNSZone != "" && !auth.ValidID(c.DNSZone) {
		errs = append(errs, config.Faultf("DNS_ZONE", "a managed zone's name has at most 63 characters a-z, 0-9 and hyphens"))
	}
	if c.DNSZone != "" && c.Project == "" {
		errs = append(errs, config.Faultf("GOOGLE_CLOUD_PROJECT", "is required with DNS_ZONE"))
	}
	if ttl := c.DNSTTL.Duration(); ttl > zone.MaxTTL*time.Second || ttl%time.Second != 0 {
		errs = append(errs, config.Faultf("DNS_TTL", "want 1s to 5m in whole seconds"))
	}
	if c.CloudDNS != "" {
		host, _, _ := net.SplitHostPort(string(c.CloudDNS))
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			errs = append(errs, config.Faultf("CLOUD_DNS_EMULATOR_HOST", "must be on this machine"))
		}
		if c.Service != "" {
			errs = append(errs, config.Faultf("CLOUD_DNS_EMULATOR_HOST", "must not be set on Cloud Run"))
		}
	}
	return errors.Join(errs...)
}

// dnsTTL is DNSTTL in seconds.
func (c *Config) dnsTTL() int64 { return int64(c.DNSTTL.Duration() / time.Second) }

// ManagedZone returns the zone that is kept in step, or nil. Nothing is connected to yet.
func (c *Config) ManagedZone() DNS {
	switch {
	case c.DNSZone == "":
		return nil
	case c.CloudDNS != "":
		return clouddns.New(c.Project, c.DNSZone, clouddns.At(string(c.CloudDNS))...)
	default:
		return clouddns.New(c.Project, c.DNSZone)
	}
}

// minInterval is the shortest interval of a health check: that of the platform's own grain, and a second
// on one machine.
func (c *Config) minInterval() time.Duration {
	if c.AllowLoopback {
		return time.Second
	}
	return 5 * time.Second
}
