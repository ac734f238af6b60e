package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/isectech/service-networking/cmd/isectl/internal/nameserver"
	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Clock tells the time.
type Clock = func() time.Time

// Options say how to run a platform.
type Options struct {
	Dir    Dir
	Port   string                      // "0": any free one
	Lookup func(string) (string, bool) // the environment
	Now    Clock
	Logs   io.Writer
	Ready  func(Info) // called once requests are answered

	DNSPort string // "0": any free one; "": 8053, or any free one where that is taken
}

// How long the platform takes when it is told to stop: for requests under way, and for telling what it noticed.
const (
	drainFor = 10 * time.Second
	flushFor = 2 * time.Second
)

// Run runs the platform until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	var base config.Base
	if err := config.Load(o.Lookup, &base); err != nil {
		return err
	}
	logger := telemetry.NewLogger(o.Logs, telemetry.LogOptions{Level: base.LogLevel, Project: base.Project})
	stop, err := o.trace(ctx, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	b, err := open(ctx, o.Dir, o.Now, base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	info, err := o.Dir.operator()
	if err != nil {
		return err
	}
	if _, err := firstStart(ctx, b.Platform); err != nil {
		return err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", o.Port))
	if err != nil {
		return fmt.Errorf("PORT: %w", err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it, once there is one
	info.Server, info.PID = "http://"+listener.Addr().String(), os.Getpid()
	m, err := o.openMessaging(ctx, base, info.Server)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close(context.WithoutCancel(ctx))) }()
	info.PubSub = m.address

	p, err := o.compose(b, m, info, logger)
	if err != nil {
		return err
	}
	names, err := o.listenDNS(ctx, p.zone, logger)
	if err != nil {
		return err
	}
	defer func() { _ = names.Close() }() // likewise
	info.DNS = names.Address()
	if err := m.declare(ctx); err != nil {
		if base.PubSubEmulator != "" {
			err = config.Faultf("PUBSUB_EMULATOR_HOST", "Pub/Sub at %s: %v", base.PubSubEmulator, err)
		}
		return err
	}
	if err := o.Dir.writeInfo(info); err != nil {
		return err
	}
	o.Ready(info)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, listener, p, logger) })
	group.Go(func() error { return m.serve(ctx) })
	group.Go(func() error { return names.Serve(ctx) })
	group.Go(func() error { return m.tellChanges(ctx, b.db, o.Now, logger) })
	group.Go(func() error {
		return tick(ctx, &ticker{
			store: b.Store, db: b.db, metrics: p.metrics, now: o.Now, logger: logger, sweep: p.sweep,
			keys: &signingkeys.Keys{Store: b.Store, Secrets: b.Secrets, Now: o.Now},
		})
	})
	err = group.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushFor)
	defer cancel()
	return errors.Join(err, p.flush(last))
}

// platform is all functions together.
type platform struct {
	authz, register, commands, own http.Handler

	zone    nameserver.Source
	sweep   func(context.Context) error
	flush   func(context.Context) error // of security events that were held back
	metrics *telemetry.Metrics
}

// maxNonces bounds the nonces that are remembered: 1,600 signed requests a second for the ten minutes that a nonce
// counts. Beyond it signed requests get 503 rather than a second chance.
const maxNonces = 1_000_000

// compose builds the functions as their own entry points do, over the local back ends.
func (o Options) compose(b *backends, m *messaging, info Info, logger *slog.Logger) (*platform, error) {
	lookup := o.environment(info)
	var authzConfig authz.Config
	var registerConfig register.Config
	if err := errors.Join(config.Load(lookup, &authzConfig), config.Load(lookup, &registerConfig)); err != nil {
		return nil, err
	}
	idTokens, err := assertions(info, authzConfig.Audience, o.Now)
	if err != nil {
		return nil, err
	}
	p := &platform{metrics: b.metrics}
	authzDeps := authz.Deps{
		Store: b.Store, Secrets: b.Secrets, Assertions: idTokens, Now: o.Now, Metrics: p.metrics, Publisher: m.publisher,
		Logger: logger.With("service", authz.Name),
	}
	registerDeps := register.Deps{
		Store: b.Store, Now: o.Now, Metrics: p.metrics, Publisher: m.publisher, Told: register.NewToldHere(o.Now),
		Logger: logger.With("service", register.Name), DNS: registerConfig.ManagedZone(),
	}
	if b.redis == nil {
		authzDeps.Nonces = signature.NewMemoryNonces(maxNonces, o.Now) // there is no other instance
	} else {
		authzDeps.Nonces = redis.NewNonces(b.redis, o.Now)
		authzDeps.Limits = redis.NewLimits(b.redis, ratelimit.NewMemory(authz.MaxLimited, o.Now), p.metrics.RateLimitCheck)
		registerDeps.SharedBy(b.redis, b.Store, registerConfig.Environment, o.Now)
	}
	authorizer := authz.New(authzConfig, authzDeps)
	registrar, err := register.New(registerConfig, registerDeps)
	if err != nil {
		return nil, err
	}
	own := httpx.NewMux()
	adder := &serviceAdder{boot: b.Platform, guard: authorizer.Guard()}
	own.Handle("POST /"+strings.Join(ServicesPath(), "/"), adder.add)

	p.authz, p.register, p.commands = authorizer.Handler(), registrar.Handler(), registrar.Commands()
	p.own = httpx.Wrap(own, httpx.Options{Now: o.Now, Logger: logger, Errors: addErrors(), Service: serviceName})
	p.sweep, p.zone = registrar.Sweep, registrar.Zone
	p.flush = func(ctx context.Context) error { return errors.Join(authorizer.Flush(ctx), registrar.Flush(ctx)) }
	m.functions.add(register.CommandName, p.commands)
	m.functions.add(register.ChangedName, registrar.Changes())
	return p, nil
}

// ServeHTTP serves each function under its paths. It is no http.ServeMux, which would redirect paths that are
// not clean.
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/internal/registry/"):
		p.register.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/internal/local/"):
		p.own.ServeHTTP(w, r)
	case r.URL.Path == "/"+register.CommandName: // an emulator pushes here; every command proves its sender
		p.commands.ServeHTTP(w, r)
	default:
		p.authz.ServeHTTP(w, r)
	}
}

// environment is the process's environment with what only one machine needs. Whoever wants a proxy of their
// own in front says its marker themselves; otherwise authz and register alone know one.
func (o Options) environment(info Info) func(string) (string, bool) {
	defaults := map[string]string{
		"TRUSTED_PROXY_MARKER": rand.Text(),
		"ALLOW_LOOPBACK":       "true",
		"ALLOW_LOG_RATE":       "1",
	}
	return func(name string) (string, bool) {
		if name == "AUTHZ_URL" { // functions in one process ask each other there
			return info.Server, true
		}
		if v, ok := o.Lookup(name); ok && v != "" {
			return v, true
		}
		v, ok := defaults[name]
		return v, ok
	}
}

func serve(ctx context.Context, l net.Listener, h http.Handler, logger *slog.Logger) error {
	server := httpx.Server(h, logger)
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
		defer cancel()
		stopped <- server.Shutdown(drain)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
