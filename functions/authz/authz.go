// Package authz answers who a caller is and what it may do: it issues access tokens, verifies every kind
// of credential, decides by the policy who may call whom, and explains each decision afterwards.
package authz

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/jwks"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// Name is the function's own service name.
const Name = "isectech-authz"

// FunctionName is the name that the function is registered under.
const FunctionName = "Authz"

// Deps is what the function is made of.
type Deps struct {
	Store      store.Store
	Secrets    *secrets.Client
	Assertions Assertions       // nil: no ID tokens are exchanged
	Nonces     signature.Nonces // of all instances together; nil: the store keeps them alone
	Limits     Limiter          // of all instances together; nil: each counts for itself
	Publisher  events.Publisher // of security events; nil: they are logged alone
	Now        func() time.Time
	Logger     *slog.Logger
	Metrics    *telemetry.Metrics
}

// Service is the authorizer.
type Service struct {
	cfg     Config
	deps    Deps
	trust   *trust.Source
	keys    *trust.KeyRing
	signers *signers
	// rotation changes the keys that signers sign with.
	rotation *signingkeys.Keys
	guard    *guard.Guard
	bounds   revocationBounds
}

// maxTokens is about how many tokens one instance need not verify again: those of a hundred services with ten
// instances each that call thirty others.
const maxTokens = 1 << 15

// New returns the authorizer.
func New(cfg Config, deps Deps) *Service {
	s := &Service{cfg: cfg, deps: deps, bounds: defaultBounds}
	s.trust = trust.NewSource(deps.Store, deps.Now)
	s.keys = trust.NewKeyRing(deps.Store, deps.Secrets, deps.Now)
	s.signers = newSigners(s.trust, deps.Secrets)
	s.rotation = &signingkeys.Keys{Store: deps.Store, Secrets: deps.Secrets, Now: deps.Now}
	if s.deps.Limits == nil {
		s.deps.Limits = ratelimit.NewMemory(MaxLimited, deps.Now)
	}
	s.guard = &guard.Guard{
		Trust:      s.trust,
		Tokens:     s.tokenVerifier(&token.Verifier{Keys: s.trust, Now: deps.Now, Cache: token.NewCache(maxTokens)}),
		Signatures: s,
		Security:   events.Monitor(FunctionName, deps.Publisher, deps.Metrics, deps.Now, deps.Logger),
		Metrics:    deps.Metrics.ForService(Name),
		Logger:     deps.Logger,
	}
	s.guard.Outside(&cfg.Base, deps.Now)
	return s
}

// Flush tells, when the process ends, of security events that were held back.
func (s *Service) Flush(ctx context.Context) error { return s.guard.Security.Flush(ctx) }

// Guard stands before endpoints that share this process and its view of who may do what.
func (s *Service) Guard() *guard.Guard { return s.guard }

// Handler returns the function's HTTP face.
func (s *Service) Handler() http.Handler {
	mux := httpx.NewMux()
	mux.Handle("POST /internal/auth/token", s.token)
	mux.Handle("GET /internal/auth/validate", s.validate)
	mux.Handle("POST /internal/auth/validate", s.validate)
	mux.HandleUnder(validatePath+"/", s.validateAppended)
	mux.Handle("POST /internal/auth/authorize", s.authorize)
	mux.Handle("POST /internal/auth/introspect", s.introspect)
	mux.Handle("POST /internal/auth/revoke", s.revoke)
	mux.Handle("POST /internal/auth/quarantine", s.quarantine)
	mux.Handle("GET /internal/auth/quarantine", s.quarantines)
	mux.Handle("DELETE /internal/auth/quarantine/{service_name}", s.release)
	mux.Handle("GET /internal/auth/policy", s.policy)
	mux.Handle("PUT /internal/auth/policy", s.replacePolicy)
	mux.Handle("GET /internal/auth/keys", s.signingKeys)
	mux.Handle("POST /internal/auth/keys/rotate", s.rotate)
	mux.Handle("GET /internal/auth/decisions/{id}", s.decision)
	mux.Handle("GET /internal/journal", s.journal)
	mux.Handle("GET /internal/auth/health", s.health)
	mux.Handle("GET /.well-known/jwks.json", s.jwks)
	mux.Handle("GET /.well-known/oauth-authorization-server", s.metadata)
	mux.Handle("GET /metrics", s.metrics)
	return httpx.Wrap(mux, httpx.Options{
		Now: s.deps.Now, Logger: s.deps.Logger, Errors: s.errors(), Timeout: s.cfg.RequestTimeout.Duration(),
		Metrics: s.deps.Metrics.ForService(Name), Service: Name,
	})
}

func (s *Service) errors() httpx.Table {
	return append(slices.Concat(guard.Errors(), revocationErrors(), keyErrors()),
		httpx.Mapping{Is: jwks.ErrUnavailable, As: httpx.Unavailable(5*time.Second, "the keys of the ID tokens' issuer cannot be fetched")},
		httpx.Mapping{Is: errDecisionID, As: httpx.NotFound("there is no such decision")},
		httpx.Mapping{Is: errNoSigningKey, As: httpx.Unavailable(time.Second, "no signing key is current")},
		httpx.Mapping{Is: store.ErrInvalid, As: httpx.InvalidRequest("the request is malformed")},
		httpx.Mapping{Is: store.ErrNotFound, As: httpx.NotFound("there is no such record")},
	)
}

// VerifySignature implements authn.Signatures: this is the one place that holds the keys.
func (s *Service) VerifySignature(ctx context.Context, signed authn.Signed) (auth.Principal, error) {
	st, err := s.trust.State(ctx)
	if err != nil {
		return auth.Principal{}, err
	}
	if signed.Legacy {
		return s.verifyLegacyKey(ctx, st, signed)
	}
	keys := &namedKeys{names: st, ring: s.keys}
	verifier := signature.Verifier{Keys: keys, Nonces: s.nonces(signed.Request), Now: s.deps.Now}
	if err := verifier.Verify(ctx, signed.Request, signed.MAC); err != nil {
		return auth.Principal{}, err
	}
	return auth.Principal{
		Subject:     keys.service,
		Environment: s.cfg.Environment,
		Scopes:      st.Policy.Grant(keys.service, s.cfg.Environment),
		Method:      auth.MethodAPIKey,
		KeyID:       signed.Request.KeyID,
	}, nil
}

// namedKeys finds keys by whatever name the request was signed with, and remembers whose it is.
type namedKeys struct {
	names   auth.Names
	ring    *trust.KeyRing
	service auth.Subject
}

// Key implements signature.Keys.
func (k *namedKeys) Key(ctx context.Context, name auth.Subject, id string) (signature.Key, error) {
	service, ok := k.names.Resolve(name.String())
	if !ok {
		return signature.Key{}, signature.ErrUnknownKey
	}
	k.service = service
	return k.ring.Key(ctx, service, id)
}
