package config

import (
	"errors"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// maxRequestTimeout is the longest that Cloud Run lets a request take.
const maxRequestTimeout = time.Hour

// Base is what every part of the platform is configured by; a part's own struct embeds it. Such a struct
// with a Validate of its own need not call this one: Load runs both.
type Base struct {
	LogLevel           LogLevel         `env:"LOG_LEVEL, default=info" desc:"Least severe level that is logged: debug, info, warn or error."`
	Environment        auth.Environment `env:"ENVIRONMENT, default=production" desc:"Where this runs: production, staging or development."`
	Project            string           `env:"GOOGLE_CLOUD_PROJECT" desc:"Google Cloud project that holds the documents and secrets."`
	FirestoreEmulator  HostPort         `env:"FIRESTORE_EMULATOR_HOST" desc:"host:port of a Firestore emulator to use instead of Firestore; refused on Cloud Run."`
	SecretManager      HostPort         `env:"SECRET_MANAGER_EMULATOR_HOST" desc:"host:port of a stand-in to use instead of Secret Manager; refused on Cloud Run."`
	PubSubEmulator     HostPort         `env:"PUBSUB_EMULATOR_HOST" desc:"host:port of a Pub/Sub emulator to use instead of Pub/Sub; refused on Cloud Run."`
	RedisURL           Secret           `env:"REDIS_URL" desc:"redis://[user][:password@]host[:port][/database], or rediss: for TLS; a cache that may be lost at any moment. Unless given, the store alone keeps nonces, and each instance counts and remembers for itself."`
	RequestTimeout     PositiveDuration `env:"REQUEST_TIMEOUT, default=60s" desc:"How long one request may take, at most 1h."`
	TrustedProxyMarker ProxyMarkers     `env:"TRUSTED_PROXY_MARKER" desc:"One value of X-ISECTECH-Proxy-Marker, or two separated by a comma, that prove a trusted proxy; each at least 16 characters."`
	TrustedProxyHops   int              `env:"TRUSTED_PROXY_HOPS, default=1" desc:"How many trusted proxies add an address to X-Forwarded-For, 1 to 8; the first address that they added is the caller's."`
	ProxyCertificates  CertHeaders      `env:"TRUSTED_PROXY_CERTIFICATES, default=both" desc:"Which headers trusted proxies set to tell of client certificates, and do not pass on from clients: google (X-Client-Cert-*), envoy (X-Forwarded-Client-Cert), both or none. Others are taken off requests."`
	EnableMTLS         bool             `env:"ENABLE_MTLS, default=true" desc:"Whether client certificates prove who calls: those of the connection itself, and those that a trusted proxy tells of. Where not, a request with one is refused."`
	Service            string           `env:"K_SERVICE" desc:"Name of the Cloud Run service; set by Cloud Run."`
	Revision           string           `env:"K_REVISION" desc:"Name of the Cloud Run revision; set by Cloud Run."`
}

// Validate checks what the types of the fields leave open.
func (b *Base) Validate() error {
	var errs []error
	if _, err := auth.ParseEnvironment(string(b.Environment)); err != nil {
		errs = append(errs, Faultf("ENVIRONMENT", "%q: want production, staging or development", clip(string(b.Environment))))
	}
	if b.Project != "" && !validProject(b.Project) {
		errs = append(errs, Faultf("GOOGLE_CLOUD_PROJECT", "%q is not a project id (lower-case letters, digits and hyphens)", clip(b.Project)))
	}
	if b.RequestTimeout.Duration() > maxRequestTimeout {
		errs = append(errs, Faultf("REQUEST_TIMEOUT", "%s is more than %s", b.RequestTimeout.Duration(), maxRequestTimeout))
	}
	if b.TrustedProxyHops < 1 || b.TrustedProxyHops > 8 {
		errs = append(errs, Faultf("TRUSTED_PROXY_HOPS", "want 1 to 8"))
	}
	if b.Service != "" && b.FirestoreEmulator != "" {
		errs = append(errs, Faultf("FIRESTORE_EMULATOR_HOST", "must not be set on Cloud Run"))
	}
	if b.Service != "" && b.SecretManager != "" {
		errs = append(errs, Faultf("SECRET_MANAGER_EMULATOR_HOST", "must not be set on Cloud Run"))
	}
	if b.Service != "" && b.PubSubEmulator != "" {
		errs = append(errs, Faultf("PUBSUB_EMULATOR_HOST", "must not be set on Cloud Run"))
	}
	return errors.Join(errs...)
}

// validProject accepts project ids, the domain-scoped ones (example.com:name) included.
func validProject(s string) bool {
	if len(s) > 100 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' || c == '.' || c == ':':
			if i == 0 || i == len(s)-1 {
				return false
			}
		default:
			return false
		}
	}
	return true
}
