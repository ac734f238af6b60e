// Package register is the service registry over HTTP: services register their instances and keep them
// alive, others find them and are handed an endpoint that works, or are told why there is none.
package register

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
)

// Name is the function's own service name.
const Name = "isectech-register"

// FunctionName is the name that the function for HTTP is registered under.
const FunctionName = "Register"

// Deps is what the function is made of.
type Deps struct {
	Store   store.Store
	Now     func() time.Time
	Logger  *slog.Logger
	Metrics *telemetry.Metrics

	// For events.
	Publisher events.Publisher
	Told      Told
	Share     func(context.Context, store.Document) error // nil: there is nowhere to share records
	DNS       DNS                                         // nil: there is no zone to keep in step

	Version func(context.Context) (version string, ok bool) // of all records; see registry.Options
	Copy    Copy                                            // nil: there is none
}

// Copy is a copy of all records that a process which begins can read at once.
type Copy interface {
	// Read returns the records as they were at a position of the store's feed, or an error where there is a doubt.
	Read(ctx context.Context) ([]store.Document, store.Position, error)
	// Update brings the copy up to date.
	Update(ctx context.Context) error
}

// Service is the registry.
type Service struct {
	cfg      Config
	deps     Deps
	trust    *trust.Source
	guard    *guard.Guard
	registry *registry.Registry
	latest   *registry.Registry // see latestOptions
	zones    coalescer          // of DNS, by service
	metrics  *telemetry.ServiceMetrics
}

// maxTokens is about how many tokens one instance need not verify again.
const maxTokens = 1 << 13

// New returns the registry.
func New(cfg Config, deps Deps) (*Service, error) {
	var marker config.Secret
	if len(cfg.TrustedProxyMarker) > 0 {
		marker = cfg.TrustedProxyMarker[0]
	}
	authz, err := guard.NewAuthz(cfg.AuthzURL, marker, cfg.Environment)
	if err != nil {
		return nil, config.Faultf("AUTHZ_URL", "%v", err)
	}
	s := &Service{cfg: cfg, deps: deps, trust: trust.NewSource(deps.Store, deps.Now), metrics: deps.Metrics.ForService(Name)}
	s.trust.Keep(cfg.MaxStale.Duration()) // discovery outlives the store; writing does not
	s.guard = &guard.Guard{
		Trust:      s.trust,
		Tokens:     &token.Verifier{Keys: s.trust, Now: deps.Now, Cache: token.NewCache(maxTokens)},
		Signatures: authz,
		Security:   events.Monitor(FunctionName, deps.Publisher, deps.Metrics, deps.Now, deps.Logger),
		Metrics:    s.metrics,
		Logger:     deps.Logger,
	}
	s.guard.Outside(&cfg.Base, deps.Now)
	options := registry.Options{
		Store: deps.Store, Names: s.names, Isolation: s.isolation, Now: deps.Now, Freshness: freshness,
		AllowLoopback: cfg.AllowLoopback, MinInterval: cfg.minInterval(), MaxStale: cfg.MaxStale.Duration(), Version: deps.Version,
		OnError: func(err error) {
			deps.Logger.Error("registry record cannot be read", slog.String("error", err.Error()))
		},
	}
	if deps.Copy != nil {
		options.Copy = deps.Copy.Read
	}
	s.registry, s.latest = registry.New(options), registry.New(latestOptions(options))
	return s, nil
}

// Flush tells, when the process ends, of security events that were held back.
func (s *Service) Flush(ctx context.Context) error { return s.guard.Security.Flush(ctx) }

// freshness is how old a snapshot may be before the store is asked for what is new. With the time that takes, a
// change is seen everywhere within a second.
const freshness = 800 * time.Millisecond

// names are those of the policy that the last caller was judged by.
func (s *Service) names() registry.Names {
	if st := s.trust.Latest(); st != nil {
		return st
	}
	return nil
}

// Handler returns the function's HTTP face.
func (s *Service) Handler() http.Handler {
	const services = "/internal/registry/services"
	mux := httpx.NewMux()
	mux.Handle("POST /internal/registry/register", s.register)
	mux.Handle("PUT "+services+"/{ref}/heartbeat", s.heartbeat)
	mux.Handle("PATCH "+services+"/{ref}", s.patch)
	mux.Handle("DELETE "+services+"/{ref}", s.unregister)
	mux.Handle("GET "+services, s.list)
	mux.Handle("GET "+services+"/{ref}", s.get)
	mux.Handle("GET "+services+"/{ref}/endpoints/{endpoint}", s.resolve)
	mux.Handle("GET /internal/registry/watch", s.watch)
	mux.Handle("GET /internal/registry/health", s.health)
	return httpx.Wrap(mux, httpx.Options{
		Now: s.deps.Now, Logger: s.deps.Logger, Errors: errorTable(), Timeout: s.cfg.RequestTimeout.Duration(), Metrics: s.metrics,
		Service: Name,
	})
}

// errorTable answers the errors of the domain.
func errorTable() httpx.Table {
	return append(guard.Errors(),
		httpx.Mapping{Is: registry.ErrNotOwner, As: httpx.Forbidden("not_owner", "the record is another service's, or of another environment than the credential's")},
		httpx.Mapping{Is: registry.ErrInvalid, Make: invalid},
		httpx.Mapping{Is: registry.ErrPrecondition, Make: func(err error) *httpx.Error {
			failed, _ := errors.AsType[*registry.PreconditionError](err)
			return httpx.PreconditionFailed(failed.Generation).Because(err)
		}},
		httpx.Mapping{Is: registry.ErrTransition, Make: func(err error) *httpx.Error {
			refused, _ := errors.AsType[*registry.TransitionError](err)
			return httpx.Conflict(refused.Generation, refused.Error())
		}},
		httpx.Mapping{Is: store.ErrConflict, Make: func(err error) *httpx.Error {
			conflict, _ := errors.AsType[*store.ConflictError](err)
			return httpx.Conflict(conflict.Generation, "the record has been written by someone else").Because(err)
		}},
		httpx.Mapping{Is: registry.ErrTooOld, As: httpx.Gone("the index is too old: read everything anew and watch from there")},
		httpx.Mapping{Is: store.ErrNotFound, As: httpx.NotFound("there is no such instance")},
	)
}

func invalid(err error) *httpx.Error {
	found, _ := errors.AsType[*registry.InvalidError](err)
	return malformed(found.Findings)
}

// malformed is the answer that lists what is wrong with a body.
func malformed(findings []registry.Finding) *httpx.Error {
	fields := make([]httpx.FieldError, len(findings))
	for i, f := range findings {
		fields[i] = httpx.FieldError{Field: f.Field, Message: f.Message}
	}
	return httpx.InvalidRequest("the request is not valid", fields...)
}

// writers are those who may write records: their own, or anyone's. Which is which, the registry decides.
var writers = guard.Access{AnyOf: []auth.Scopes{auth.ServiceDiscover, auth.AdminWrite}, Write: true}

// readers may read the registry.
var readers = guard.Access{AnyOf: []auth.Scopes{auth.ServiceDiscover}}
