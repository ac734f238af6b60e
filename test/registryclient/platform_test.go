// Package registryclient runs the registry's client against the registry: several instances of the function over one
// store, which are killed and started again, in a time that passes as fast as it can.
package registryclient

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/registry/client"
)

const backend = "isectech-backend-services"

// registries is the registry's instances behind one address, without a network.
type registries struct {
	t        *testing.T
	platform *platformtest.Platform

	mu   sync.Mutex
	turn int
	up   []*instance
}

// instance is one instance of the function, for as long as it lives.
type instance struct {
	handler http.Handler
	ctx     context.Context // ends with the instance
	kill    context.CancelFunc
}

// start starts so many instances over a platform, whose clock follows the bubble's from here on.
func start(t *testing.T, p *platformtest.Platform, instances int) *registries {
	t.Helper()
	r := &registries{t: t, platform: p}
	const tick = 50 * time.Millisecond
	ticker := time.NewTicker(tick)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.Clock.Advance(tick)
			case <-ctx.Done():
				return
			}
		}
	}()
	for range instances {
		r.startOne()
	}
	return r
}

func (r *registries) startOne() {
	r.t.Helper()
	var cfg register.Config
	env := map[string]string{"TRUSTED_PROXY_MARKER": "a-marker-for-tests-alone"}
	if err := config.Load(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, &cfg); err != nil {
		r.t.Fatal(err)
	}
	function, err := register.New(cfg, register.Deps{
		Store: r.platform.Store, Now: r.platform.Clock.Now, Logger: r.platform.Logger(),
		Metrics: telemetry.NewMetrics(), Publisher: new(eventstest.Recorder),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	i := &instance{handler: function.Handler()}
	i.ctx, i.kill = context.WithCancel(context.Background())
	r.t.Cleanup(i.kill)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = append(r.up, i)
}

// killOne ends the oldest instance; what it was answering breaks off.
func (r *registries) killOne() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up[0].kill()
	r.up = r.up[1:]
}

var errRefused = errors.New("connection refused")

// RoundTrip asks the instances in turn.
func (r *registries) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	if len(r.up) == 0 {
		r.mu.Unlock()
		return nil, errRefused
	}
	r.turn++
	i := r.up[r.turn%len(r.up)]
	r.mu.Unlock()

	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(i.ctx, cancel)() //nolint:contextcheck // the instance's life, not the request's
	in := req.Clone(ctx)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "192.0.2.1:1234"
	w := httptest.NewRecorder()
	i.handler.ServeHTTP(w, in)
	_ = in.Body.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// token is what backend's instances prove themselves by.
func (r *registries) token() string {
	return r.platform.Token(r.t, backend, auth.PlatformAudience, auth.ServiceDiscover)
}

// client returns a client of backend's.
func (r *registries) client(edit ...func(*client.Options)) *client.Client {
	r.t.Helper()
	o := client.Options{
		Server: "https://registry.test", Environment: auth.Production, Now: r.platform.Clock.Now, Seed: 1,
		HTTP:  &http.Client{Transport: r},
		Token: func(context.Context, string) (string, error) { return r.token(), nil },
	}
	for _, e := range edit {
		e(&o)
	}
	c, err := client.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(r.t.Context())) })
	return c
}
