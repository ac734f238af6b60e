package boot

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// world returns a process in a world of its own, with the time and the log of the test.
func world(now func() time.Time, env map[string]string) (*process, *bytes.Buffer) {
	var out bytes.Buffer
	return newProcess(Env{
		Lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		Now:    now,
		Logger: telemetry.NewLogger(&out, telemetry.LogOptions{}),
	}), &out
}

func get(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func TestLazyBuildTriesAgain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	p, out := world(func() time.Time { return now }, nil)
	attempts, built := 0, 0
	p.onBuilt = func() { built++ }
	f := p.function("F", func(_ context.Context, env Env) (http.Handler, error) {
		attempts++
		if env.Logger == nil || env.OnShutdown == nil || env.Now == nil || env.Lookup == nil {
			t.Error("the function is built without its world")
		}
		if attempts < 8 {
			return nil, errors.New("config: KEY: is required")
		}
		return ok, nil
	})
	for i, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if w := get(f); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"error":"unavailable"`) || strings.Contains(w.Body.String(), "KEY") {
			t.Fatalf("%d: %d %v %s", i, w.Code, w.Header(), w.Body)
		}
		now = now.Add(wait*time.Second - 1)
		if get(f); attempts != i+1 {
			t.Fatalf("%d attempts, want %d: tried again too early", attempts, i+1)
		}
		now = now.Add(1)
	}
	if w := get(f); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if get(f); attempts != 8 || built != 1 {
		t.Errorf("%d attempts, %d built", attempts, built)
	}
	if !strings.Contains(out.String(), "KEY: is required") || !strings.Contains(out.String(), `"service":"F"`) {
		t.Errorf("the log does not say why: %s", out)
	}
}

func TestBuildOnceForAll(t *testing.T) {
	t.Parallel()
	p, _ := world(time.Now, map[string]string{"K_SERVICE": "authz"})
	if got := p.service("F"); got != "authz" {
		t.Errorf("service is %q", got)
	}
	var attempts atomic.Int32
	f := p.function("F", func(context.Context, Env) (http.Handler, error) {
		attempts.Add(1)
		return ok, nil
	})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if w := get(f); w.Code != 204 {
				t.Errorf("%d", w.Code)
			}
		})
	}
	wg.Wait()
	if got := attempts.Load(); got != 1 {
		t.Errorf("built %d times", got)
	}
	nothing := p.function("N", func(context.Context, Env) (http.Handler, error) { return nil, nil }) //nolint:nilnil // the mistake under test
	if w := get(nothing); w.Code != 503 {
		t.Errorf("a function without a handler answers %d", w.Code)
	}
}

func TestRequestsHaveADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := world(time.Now, nil)
		f := p.function("F", func(context.Context, Env) (http.Handler, error) {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				w.WriteHeader(http.StatusGatewayTimeout)
			}), nil
		})
		start := time.Now()
		if w := get(f); w.Code != 504 || time.Since(start) != time.Minute {
			t.Errorf("%d after %s", w.Code, time.Since(start))
		}
	})
}

// A build that hangs must not hold requests beyond their deadline.
func TestWaitingForABuild(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := world(time.Now, nil)
		p.timeout = time.Second
		release := make(chan struct{})
		f := p.function("F", func(context.Context, Env) (http.Handler, error) {
			<-release
			return ok, nil
		})
		first := make(chan int)
		go func() { first <- get(f).Code }()
		synctest.Wait()
		if w := get(f); w.Code != 503 {
			t.Errorf("%d while another builds", w.Code)
		}
		close(release)
		if code := <-first; code != 204 {
			t.Errorf("the builder's own request got %d", code)
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		request time.Duration // how long the request in flight takes; 0: there is none
		took    time.Duration
		log     string
	}{
		{"nothing in flight", 0, 0, `"in_flight":0`},
		{"waits for a request", 5 * time.Second, 5 * time.Second, `"in_flight":1`},
		{"not for ever", time.Hour, drainTime, "requests are cut off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, out := world(time.Now, nil)
				var closed []string
				f := p.function("F", func(ctx context.Context, env Env) (http.Handler, error) {
					for _, name := range []string{"store", "cache"} {
						env.OnShutdown(name, func(context.Context) error {
							closed = append(closed, name)
							if ctx.Err() != nil {
								t.Errorf("%s: the process's context ended before it was closed", name)
							}
							return nil
						})
					}
					return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
						timer := time.NewTimer(tt.request)
						defer timer.Stop()
						<-timer.C
					}), nil
				})
				if err := f.buildNow(); err != nil {
					t.Fatal(err)
				}
				var inFlight sync.WaitGroup
				defer inFlight.Wait()
				if tt.request > 0 {
					inFlight.Go(func() { get(f) })
					synctest.Wait()
				}
				start := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					p.drain()
				}()
				synctest.Wait()
				if w := get(f); w.Code != 503 || w.Header().Get("Connection") != "close" {
					t.Errorf("a new request got %d %v", w.Code, w.Header())
				}
				<-done
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if d := cmp.Diff([]string{"cache", "store"}, closed); d != "" {
					t.Error(d)
				}
				if p.ctx.Err() == nil {
					t.Error("the process's context lives on")
				}
				p.drain() // again: nothing happens
				if !strings.Contains(out.String(), tt.log) || strings.Count(out.String(), `"drained"`) != 1 {
					t.Errorf("log: %s", out)
				}
			})
		})
	}
}

func TestClosersThatFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, out := world(time.Now, nil)
		release := make(chan struct{})
		defer close(release)
		p.onShutdown("deaf", func(context.Context) error { <-release; return nil })
		p.onShutdown("broken", func(context.Context) error { return errors.New("no disk") })
		start := time.Now()
		p.drain()
		if took := time.Since(start); took != closeTime {
			t.Errorf("took %s", took)
		}
		for _, want := range []string{`"what":"broken","err":"no disk"`, `"what":"deaf","err":"context deadline exceeded"`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s is not in %s", want, out)
			}
		}
	})
}
