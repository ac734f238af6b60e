package client_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

// fleet is the instances of a service, by host, and a record of what they were asked.
type fleet struct {
	mu    sync.Mutex
	once  *deed // what the next to be called does
	does  map[string]deed
	calls []string // method, URL, Host and body
	ids   []string // the instance of each
}

func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		text, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		body = string(text)
	}
	f.mu.Lock()
	f.calls = append(f.calls, strings.TrimSpace(fmt.Sprint(r.Method, " ", r.URL, " ", r.Host, " ", body)))
	target, _ := client.TargetOf(r.Context())
	f.ids = append(f.ids, target.ServiceID)
	does := f.does[r.URL.Host]
	if f.once != nil {
		does, f.once = *f.once, nil
	}
	f.mu.Unlock()
	return does.do(r)
}

// do sets what an instance does from now on.
func (f *fleet) do(host string, does deed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.does == nil {
		f.does = map[string]deed{}
	}
	f.does[host] = does
}

// heard returns what was called since it was last asked, and of which instances.
func (f *fleet) heard() (calls, ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls, ids, f.calls, f.ids = f.calls, f.ids, nil, nil
	return calls, ids
}

// deed is what an instance does when it is called: answer with a status, break the connection, break off its answer,
// or nothing until its caller gives up.
type deed struct {
	status        int // 0 means 200
	err           error
	broken, hangs bool
}

func (d deed) do(r *http.Request) (*http.Response, error) {
	switch {
	case d.err != nil:
		return nil, d.err
	case d.hangs:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	res := &http.Response{StatusCode: cmp.Or(d.status, http.StatusOK), Header: http.Header{}, Body: io.NopCloser(strings.NewReader("a body"))}
	if d.broken {
		res.Body = io.NopCloser(failing{})
	}
	return res, nil
}

func status(code int) deed  { return deed{status: code} }
func breaks(err error) deed { return deed{err: err} }

// call makes a call, and returns the status, or the error.
func call(ctx context.Context, t *client.Transport, method, url, body string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body == "" {
		r.Body, r.GetBody = nil, nil
	}
	res, err := t.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode, nil
}

// reached returns an instance that has an endpoint at a URL.
func reached(id, url, path string) registry.Registration {
	reg := forever(id)
	scheme, _, _ := strings.Cut(url, ":")
	reg.Endpoints = []registry.Endpoint{{Name: "api", URL: url, Protocol: scheme, Port: 443, Path: path}}
	return reg
}

func TestTransportRewrites(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		endpoint, path, url string
		want                string // "": the name is not a service's, and the call goes through as it is
		fails               bool
	}{
		"name":             {"https://a.run.test", "", "https://isectech-backend-services/v1/x?y=1", "GET https://a.run.test/v1/x?y=1", false},
		"alias":            {"https://a.run.test", "", "http://backend-services", "GET https://a.run.test/", false},
		"in the zone":      {"https://a.run.test", "", "https://Backend-Services.internal.isectech.com/", "GET https://a.run.test/", false},
		"base paths":       {"https://a.run.test/base/", "/api/", "http://backend-services/v1/", "GET https://a.run.test/base/api/v1/", false},
		"escapes":          {"https://a.run.test/b", "", "http://backend-services/a%2Fb%20c?q=%2F", "GET https://a.run.test/b/a%2Fb%20c?q=%2F", false},
		"port":             {"https://10.1.2.3:8443", "", "http://backend-services/", "GET https://10.1.2.3:8443/", false},
		"default port":     {"http://a.test:80", "", "http://backend-services/", "GET http://a.test/", false},
		"IPv6":             {"https://[fd00::1]:8443/x", "", "http://backend-services/y", "GET https://[fd00::1]:8443/x/y", false},
		"less than asked":  {"http://a.test", "", "https://backend-services/", "", true},
		"unknown name":     {"https://a.run.test", "", "https://nobody/", "", true},
		"other host":       {"https://a.run.test", "", "https://example.com/x", "", false},
		"localhost":        {"https://a.run.test", "", "http://localhost/x", "", false},
		"with a port":      {"https://a.run.test", "", "http://backend-services:8080/x", "", false},
		"address":          {"https://a.run.test", "", "http://10.0.0.1/x", "", false},
		"disguised number": {"https://a.run.test", "", "http://2130706433/x", "", false},
		"IPv6 address":     {"https://a.run.test", "", "http://[::1]/x", "", false},
		"deeper name":      {"https://a.run.test", "", "https://x.backend-services.internal.isectech.com/", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, c := start(t)
				f.Put(reached("backend-services-1", test.endpoint, test.path), registry.Healthy)
				instances := &fleet{}
				_, err := call(t.Context(), &client.Transport{Client: c, Base: instances}, http.MethodGet, test.url, "")
				if (err != nil) != test.fails {
					t.Fatal(err)
				}
				calls, _ := instances.heard()
				switch {
				case test.fails:
					if len(calls) != 0 {
						t.Error(calls)
					}
				case test.want == "":
					if len(calls) != 1 || !strings.HasPrefix(calls[0], "GET "+test.url+" ") {
						t.Errorf("%q", calls)
					}
				default:
					if len(calls) != 1 || calls[0] != test.want {
						t.Errorf("%q", calls)
					}
				}
			})
		})
	}
}

func TestTransportTriesAgain(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	reset := &net.OpError{Op: "read", Err: errors.New("connection reset")}
	for name, test := range map[string]struct {
		method, body string
		header       string
		first        deed
		calls        int
		status       int // 0: an error
	}{
		"503 of a GET":                    {"GET", "", "", status(503), 2, 200},
		"502 of a PUT":                    {"PUT", "body", "", status(502), 2, 200},
		"504 of a DELETE":                 {"DELETE", "", "", status(504), 2, 200},
		"500 is an answer":                {"GET", "", "", status(500), 1, 500},
		"404 is an answer":                {"GET", "", "", status(404), 1, 404},
		"503 of a POST":                   {"POST", "body", "", status(503), 1, 503},
		"503 of a POST with key":          {"POST", "body", "Idempotency-Key", status(503), 2, 200},
		"reset GET":                       {"GET", "", "", breaks(reset), 2, 200},
		"reset POST":                      {"POST", "body", "", breaks(reset), 1, 0},
		"POST that was not sent":          {"POST", "body", "", breaks(refused), 2, 200},
		"PUT that is not to be had again": {"PUT", "once", "", breaks(refused), 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, c := start(t)
				for _, id := range []string{"backend-services-1", "backend-services-2"} {
					f.Put(instance(id), registry.Healthy)
				}
				instances := &fleet{}
				instances.once = &test.first
				r, err := http.NewRequestWithContext(t.Context(), test.method, "https://backend-services/x", strings.NewReader(test.body))
				if err != nil {
					t.Fatal(err)
				}
				if test.header != "" {
					r.Header.Set(test.header, "1")
				}
				if test.body == "once" {
					r.GetBody = nil
				}
				got := 0
				res, err := (&client.Transport{Client: c, Base: instances}).RoundTrip(r)
				if err == nil {
					got = res.StatusCode
					_ = res.Body.Close()
				}
				calls, ids := instances.heard()
				if got != test.status || len(calls) != test.calls {
					t.Fatalf("status %d, %v after %q", got, err, calls)
				}
				if test.calls == 2 && ids[0] == ids[1] {
					t.Errorf("tried %v", ids)
				}
				for _, call := range calls {
					if test.body != "" && !strings.HasSuffix(call, test.body) {
						t.Errorf("%q without its body", call)
					}
				}
			})
		})
	}
}

// An instance that fails is left out within five failures, and is back after one success once it is due.
func TestTransportEjects(t *testing.T) {
	t.Parallel()
	for name, does := range map[string]deed{
		"500": status(500), "reset": breaks(errors.New("reset")), "timeout": {hangs: true}, "broken body": {broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, c := start(t)
				for _, id := range []string{"backend-services-1", "backend-services-2", "backend-services-3"} {
					f.Put(instance(id), registry.Healthy)
				}
				instances := &fleet{}
				transport := &client.Transport{Client: c, Base: instances}
				calls := func(n int) (failing int) {
					for range n {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
						_, _ = call(ctx, transport, http.MethodPost, "https://backend-services/", "x")
						cancel()
					}
					_, ids := instances.heard()
					for _, id := range ids {
						if id == "backend-services-2" {
							failing++
						}
					}
					return failing
				}
				instances.do("backend-services-2.run.test", does)
				if n := calls(200); n != 5 {
					t.Errorf("called %d times before it was left out", n)
				}
				time.Sleep(30 * time.Second)
				// The headers decide a trial: a body that breaks off afterwards counts from one again.
				if n := calls(200); n != 1 && (name != "broken body" || n != 6) {
					t.Errorf("tried %d times when it was due", n)
				}
				instances.do("backend-services-2.run.test", status(404))
				time.Sleep(30 * time.Second)
				if n := calls(200); n < 40 {
					t.Errorf("called %d times of 200 after it had recovered", n)
				}
			})
		})
	}
}

// failing is a body that breaks off.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Callers that give up say nothing about an instance.
func TestCancellationDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		for _, id := range []string{"backend-services-1", "backend-services-2"} {
			f.Put(instance(id), registry.Healthy)
		}
		instances := &fleet{}
		transport := &client.Transport{Client: c, Base: instances}
		instances.do("backend-services-1.run.test", deed{hangs: true})
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			if _, err := call(ctx, transport, http.MethodGet, "https://backend-services/", ""); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if _, ids := instances.heard(); len(ids) != 100 || !slices.Contains(ids[90:], "backend-services-1") {
			t.Errorf("%d calls, the last of %v", len(ids), ids[90:])
		}
	})
}

// When everything fails, second attempts end soon, and the calls do not.
func TestSecondAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		instances := &fleet{}
		for n := range 10 {
			id := fmt.Sprint("backend-services-", n)
			f.Put(instance(id), registry.Healthy)
			instances.do(id+".run.test", status(503))
		}
		transport := &client.Transport{Client: c, Base: instances}
		for range 100 {
			if code, err := call(t.Context(), transport, http.MethodGet, "https://backend-services/", ""); code != 503 {
				t.Fatal(code, err)
			}
		}
		if calls, _ := instances.heard(); len(calls) > 106 {
			t.Errorf("%d calls for 100", len(calls))
		}
		for n := range 10 {
			instances.do(fmt.Sprint("backend-services-", n, ".run.test"), deed{})
		}
		time.Sleep(time.Minute)
		for range 100 {
			if code, err := call(t.Context(), transport, http.MethodGet, "https://backend-services/", ""); code != 200 {
				t.Fatal(code, err)
			}
		}
	})
}

// Callers that say where they run call what is near.
func TestNearFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t, func(o *client.Options) { o.Balance.Region, o.Balance.Zone = "europe-west1", "b" })
		for _, zone := range []string{"a", "b", "c"} {
			reg := instance("backend-services-" + zone)
			reg.Region, reg.Metadata = "europe-west1", map[string]string{client.ZoneKey: zone}
			f.Put(reg, registry.Healthy)
		}
		instances := &fleet{}
		transport := &client.Transport{Client: c, Base: instances}
		run := func() map[string]int {
			for range 300 {
				if _, err := call(t.Context(), transport, http.MethodPost, "https://backend-services/", "x"); err != nil {
					t.Fatal(err)
				}
			}
			_, ids := instances.heard()
			got := map[string]int{}
			for _, id := range ids {
				got[id]++
			}
			return got
		}
		if got := run(); got["backend-services-b"] != 300 {
			t.Errorf("called %v", got)
		}
		instances.do("backend-services-b.run.test", status(500))
		if got := run(); got["backend-services-b"] != 5 || got["backend-services-a"] < 100 || got["backend-services-c"] < 100 {
			t.Errorf("the near one fails: called %v", got)
		}
	})
}

func BenchmarkTransport(b *testing.B) {
	f := clienttest.New(b, time.Now, backend)
	for n := range 100 {
		f.Put(forever(fmt.Sprint("backend-services-", n)), registry.Healthy)
	}
	c, err := client.New(client.Options{
		Server: "https://registry.test", Environment: "production", Now: time.Now, Seed: 1, HTTP: &http.Client{Transport: f},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(b.Context()))
	transport := &client.Transport{Client: c, Base: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})}
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "https://backend-services/v1", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		res, err := transport.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		_ = res.Body.Close()
	}
}
