// Package boot starts functions and stops them. It registers a function with the functions framework,
// builds its handler with the outside world that only a composition root may see, and drains the process
// when it is told to end, which the framework does not.
//
//	func init() { boot.HTTP("Register", build) }
//
// Everything is registered as an HTTP function, events too: the framework's own event adapters hand
// requests over one channel and have neither deadlines nor limits.
package boot

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Env is the outside world of a function: all that it may not reach for by itself.
type Env struct {
	Lookup func(string) (string, bool) // environment variables
	Now    func() time.Time
	Logger *slog.Logger // replace its service with Logger.With("service", …)

	// OnShutdown registers what is to be closed when the process ends: in reverse order, after the last
	// request, within a second.
	OnShutdown func(name string, closer func(context.Context) error)
}

// Build makes a function's handler. Its context lasts as long as the process.
type Build func(ctx context.Context, env Env) (http.Handler, error)

// HTTP registers a function under a name, and is called from an init function.
//
// Where the process serves this function alone (FUNCTION_TARGET), the handler is built at once, and a
// failure ends the process with one line before it listens, so that a bad configuration fails the
// revision and not its requests. Where several functions share a process, each is built at its first
// request, and one that cannot be built answers 503 and is tried again, less and less often.
func HTTP(name string, build Build) {
	p := theProcess()
	f := p.function(name, build)
	if target, _ := p.env.Lookup("FUNCTION_TARGET"); target == name {
		if err := f.buildNow(); err != nil {
			telemetry.NewLogger(os.Stderr, telemetry.LogOptions{Service: p.service(name)}).
				Log(p.ctx, telemetry.LevelCritical, "cannot start "+name+": "+err.Error())
			os.Exit(1)
		}
	}
	functions.HTTP(name, f.ServeHTTP)
}

// theProcess returns the process, made of the real world at the first call. Importing a function without
// serving it, as the tools do, changes nothing: signals are taken over with the first handler built.
var theProcess = sync.OnceValue(func() *process {
	var base config.Base
	if err := config.Load(os.LookupEnv, &base); err != nil {
		base = config.Base{} // the function's own configuration contains this one and reports its faults
	}
	p := newProcess(Env{
		Lookup: os.LookupEnv,
		Now:    time.Now,
		Logger: telemetry.NewLogger(os.Stdout, telemetry.LogOptions{Level: base.LogLevel, Project: base.Project}),
	})
	if t := base.RequestTimeout.Duration(); t > 0 {
		p.timeout = t
	}
	p.onBuilt = sync.OnceFunc(func() { p.endOnSignal(os.Exit) })
	return p
})

// Backoff between attempts to build.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// function is a registered function.
type function struct {
	process *process
	name    string
	build   Build
	env     Env

	handler atomic.Pointer[http.Handler] // nil until built

	slot chan struct{} // held by whoever builds; guards the fields below
	err  error         // of the last attempt
	wait time.Duration // before the next attempt
	next time.Time     // when it may be made
}

// errNotBuilt is what a request gets while the function cannot be built.
var errNotBuilt = errors.New("the function is not ready")

func (p *process) function(name string, build Build) *function {
	env := p.env
	env.Logger = env.Logger.With("service", p.service(name))
	env.OnShutdown = p.onShutdown
	return &function{process: p, name: name, build: build, env: env, slot: make(chan struct{}, 1)}
}

// service names the function in logs until it names itself.
func (p *process) service(name string) string {
	if s, ok := p.env.Lookup("K_SERVICE"); ok && s != "" {
		return s
	}
	return name
}

// buildNow builds the handler for the first time.
func (f *function) buildNow() error {
	_, err := f.ready(f.process.ctx)
	return err
}

// ready returns the handler, building it if that has not been done and is due.
func (f *function) ready(ctx context.Context) (http.Handler, error) {
	if h := f.handler.Load(); h != nil {
		return *h, nil
	}
	select {
	case f.slot <- struct{}{}:
		defer func() { <-f.slot }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h := f.handler.Load(); h != nil { // by whoever held the slot
		return *h, nil
	}
	now := f.env.Now()
	if now.Before(f.next) {
		return nil, f.err
	}
	h, err := f.make()
	if err != nil {
		f.wait = min(max(2*f.wait, firstRetry), lastRetry)
		f.err, f.next = err, now.Add(f.wait)
		return nil, err
	}
	f.err = nil
	f.handler.Store(&h)
	f.process.onBuilt()
	return h, nil
}

func (f *function) make() (http.Handler, error) {
	if err := f.process.traces(); err != nil {
		return nil, err
	}
	h, err := f.build(f.process.ctx, f.env)
	if err == nil && h == nil {
		err = errNotBuilt
	}
	return h, err
}

// ServeHTTP serves a request, or answers 503 while the process ends or the function cannot be built.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !f.process.enter() {
		f.refuse(w, r, httpx.Unavailable(time.Second, "the instance is ending").WithHeader("Connection", "close"))
		return
	}
	defer f.process.leave()
	ctx, cancel := context.WithTimeout(r.Context(), f.process.timeout)
	defer cancel()
	r = r.WithContext(ctx)
	h, err := f.ready(ctx)
	if err != nil {
		f.refuse(w, r, httpx.Unavailable(firstRetry, errNotBuilt.Error()).Because(err))
		return
	}
	h.ServeHTTP(w, r)
}

// refuse answers in the form of all errors, though there is no handler to do it.
func (f *function) refuse(w http.ResponseWriter, r *http.Request, e *httpx.Error) {
	httpx.Wrap(httpx.Handle(func(http.ResponseWriter, *http.Request) error { return e }),
		httpx.Options{Now: f.env.Now, Logger: f.env.Logger}).ServeHTTP(w, r)
}
