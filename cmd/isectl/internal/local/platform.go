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

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
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
}

// drainFor is how long requests under way get when the platform is told to stop.
const drainFor = 10 * time.Second

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
	b, err := open(ctx, o.Dir, o.Now)
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
	info.Server, info.PID = "http://"+listener.Addr().String(), os.Getpid()
	handler, metrics, err := o.compose(b.Platform, info, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := o.Dir.writeInfo(info); err != nil {
		return errors.Join(err, listener.Close())
	}
	o.Ready(info)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, listener, handler, logger) })
	group.Go(func() error { return tick(ctx, &ticker{store: b.db, metrics: metrics, now: o.Now, logger: logger}) })
	return group.Wait()
}

// compose builds the functions as their own entry points do, over the embedded back ends.
func (o Options) compose(boot *bootstrap.Platform, info Info, logger *slog.Logger) (http.Handler, *telemetry.Metrics, error) {
	lookup := o.environment(info)
	var authzConfig authz.Config
	var registerConfig register.Config
	if err := errors.Join(config.Load(lookup, &authzConfig), config.Load(lookup, &registerConfig)); err != nil {
		return nil, nil, err
	}
	idTokens, err := assertions(info, authzConfig.Audience, o.Now)
	if err != nil {
		return nil, nil, err
	}
	metrics := telemetry.NewMetrics()
	authorizer := authz.New(authzConfig, authz.Deps{
		Store: boot.Store, Secrets: boot.Secrets, Assertions: idTokens, Now: o.Now, Metrics: metrics,
		Logger: logger.With("service", authz.Name),
	})
	registrar, err := register.New(registerConfig, register.Deps{
		Store: boot.Store, Now: o.Now, Logger: logger.With("service", register.Name), Metrics: metrics,
	})
	if err != nil {
		return nil, nil, err
	}
	own := httpx.NewMux()
	adder := &serviceAdder{boot: boot, guard: authorizer.Guard()}
	own.Handle("POST /"+strings.Join(ServicesPath(), "/"), adder.add)

	ownHandler := httpx.Wrap(own, httpx.Options{Now: o.Now, Logger: logger, Errors: guard.Errors(), Service: serviceName})
	authzHandler, registerHandler := authorizer.Handler(), registrar.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not an http.ServeMux, which would redirect paths that are not clean.
		switch {
		case strings.HasPrefix(r.URL.Path, "/internal/registry/"):
			registerHandler.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/internal/local/"):
			ownHandler.ServeHTTP(w, r)
		default:
			authzHandler.ServeHTTP(w, r)
		}
	}), metrics, nil
}

// environment is the process's environment with what only one machine needs.
func (o Options) environment(info Info) func(string) (string, bool) {
	marker := rand.Text() // authz and register prove their hop to each other, and nobody else can
	fixed := map[string]string{
		"AUTHZ_URL":            info.Server,
		"TRUSTED_PROXY_MARKER": marker,
		"ALLOW_LOOPBACK":       "true",
		"ALLOW_LOG_RATE":       "1",
	}
	return func(name string) (string, bool) {
		if v, ok := fixed[name]; ok {
			return v, true
		}
		return o.Lookup(name)
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
