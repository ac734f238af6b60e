package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/balance"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

func unavailable(*http.Request) *clienttest.Answer {
	return &clienttest.Answer{Status: http.StatusServiceUnavailable}
}

// forever is a registration without a lease, which nobody needs to renew.
func forever(id string) registry.Registration {
	reg := instance(id)
	reg.Lease = 0
	return reg
}

func find(t *testing.T, c *client.Client, service string) client.Found {
	t.Helper()
	f, err := c.Discover(t.Context(), service, "api")
	if err != nil {
		t.Fatal(err)
	}
	f.Done(balance.Success)
	return f
}

// ids returns which instances are chosen.
func ids(t *testing.T, c *client.Client) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	for range 100 {
		got[find(t, c, backend).ServiceID] = true
	}
	return got
}

// However many ask, by whatever name, the registry is asked once, and then waited on by one request.
func TestOneWatchForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Put(forever("backend-services-1"), registry.Healthy)
		var group sync.WaitGroup
		for n := range 50 {
			group.Go(func() {
				found, err := c.Discover(t.Context(), []string{"backend-services", backend}[n%2], "api")
				if err != nil || found.ServiceID != "backend-services-1" || found.ServiceName != backend {
					t.Error(found, err)
				}
			})
		}
		group.Wait()
		synctest.Wait()
		if n := len(f.Asked()); n > 3 || f.Watches() != 1 {
			t.Errorf("%d requests, %d wait", n, f.Watches())
		}
		f.Put(forever("backend-services-2"), registry.Healthy)
		f.Put(forever("backend-services-3"), registry.Starting)
		f.Remove("backend-services-1")
		time.Sleep(time.Second)
		if got := ids(t, c); len(got) != 1 || !got["backend-services-2"] {
			t.Error(got)
		}
		f.Asked()
		time.Sleep(10 * time.Minute)
		find(t, c, "backend-services")
		if asked := f.Asked(); len(asked) > 60 {
			t.Errorf("%d requests in ten minutes of nothing: %v", len(asked), asked)
		}
	})
}

// While the registry is gone the last that was known is answered from, with its age; once it is back, so are changes.
func TestRegistryIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Put(instance("backend-services-1"), registry.Healthy)
		find(t, c, backend)
		f.Fail(unavailable)
		time.Sleep(time.Hour)
		if found := find(t, c, backend); found.Age < 59*time.Minute || found.Age > time.Hour {
			t.Errorf("age %v", found.Age)
		}
		if n := len(f.Asked()); n > 500 {
			t.Errorf("%d requests of a registry that is gone for an hour", n)
		}
		f.Remove("backend-services-1")
		f.Put(forever("backend-services-2"), registry.Healthy)
		f.Fail(nil)
		time.Sleep(20 * time.Second)
		if found := find(t, c, backend); found.ServiceID != "backend-services-2" || found.Age > 30*time.Second {
			t.Errorf("%s, age %v", found.ServiceID, found.Age)
		}
		f.Forget() // 410
		f.Put(forever("backend-services-3"), registry.Healthy)
		time.Sleep(time.Second)
		if got := ids(t, c); len(got) != 2 {
			t.Error(got)
		}
	})
}

// A copy older than it may be is not answered from.
func TestMaxStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t, func(o *client.Options) { o.MaxStale = time.Minute })
		f.Put(forever("backend-services-1"), registry.Healthy)
		find(t, c, backend)
		time.Sleep(time.Hour)
		find(t, c, backend)
		f.Fail(unavailable)
		time.Sleep(50 * time.Second)
		find(t, c, backend)
		time.Sleep(20 * time.Second)
		began := time.Now()
		if _, err := c.Discover(t.Context(), backend, "api"); !errors.Is(err, client.ErrStale) || !errors.Is(err, client.ErrUnavailable) {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("takes %v", took)
		}
	})
}

// An instance whose lease ends is not found any more, though no change tells of it.
func TestLapse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		short := instance("backend-services-1")
		short.Lease = registry.Duration(10 * time.Second)
		f.Put(short, registry.Healthy)
		f.Put(forever("backend-services-2"), registry.Healthy)
		if got := ids(t, c); len(got) != 2 {
			t.Error(got)
		}
		time.Sleep(12 * time.Second)
		if got := ids(t, c); len(got) != 1 || !got["backend-services-2"] {
			t.Error(got)
		}
	})
}

// The first to ask waits until the service is known, or as long as it has time.
func TestFirstDiscovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Put(forever("backend-services-1"), registry.Healthy)
		f.Fail(unavailable)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := c.Discover(ctx, backend, "api"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrUnavailable) {
			t.Error(err)
		}
		go func() {
			time.Sleep(3 * time.Second)
			f.Fail(nil)
		}()
		find(t, c, backend)
		for endpoint, want := range map[string]error{"": nil, "api": nil, "other": client.ErrNoEndpoint} {
			found, err := c.Discover(t.Context(), backend, endpoint)
			if !errors.Is(err, want) {
				t.Errorf("%q: %v", endpoint, err)
			}
			if err == nil {
				found.Done(balance.Success)
			}
		}
		for over, want := range map[client.Over]error{client.HTTP: nil, client.HTTPS: nil, client.GRPC: client.ErrNoEndpoint} {
			if _, err := c.DiscoverOver(t.Context(), backend, "", over); !errors.Is(err, want) {
				t.Errorf("%v: %v", over, err)
			}
		}
	})
}

// That there is no such service is remembered for a while, and so is a refusal.
func TestUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Put(forever("backend-services-1"), registry.Healthy)
		for range 100 {
			for _, ref := range []string{"nobody", "Not/An:Id", "backend-services-1"} {
				if _, err := c.Discover(t.Context(), ref, "api"); !errors.Is(err, client.ErrUnknownService) {
					t.Fatal(ref, err)
				}
			}
		}
		if asked := f.Asked(); len(asked) != 2 {
			t.Errorf("%d requests", len(asked))
		}
		f.Fail(func(*http.Request) *clienttest.Answer { return &clienttest.Answer{Status: http.StatusForbidden} })
		if _, err := c.Discover(t.Context(), backend, "api"); err == nil || errors.Is(err, client.ErrUnavailable) {
			t.Error(err)
		}
		f.Fail(nil)
		time.Sleep(6 * time.Second)
		find(t, c, backend)
		f.Fail(func(*http.Request) *clienttest.Answer { return &clienttest.Answer{Status: http.StatusForbidden} })
		time.Sleep(time.Minute)
		find(t, c, backend) // once known it is kept, whatever is wrong with the credentials
		f.Fail(nil)
	})
}

// What nobody discovers is watched no more, and no more than a number at once.
func TestWatchesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for n := range 20 {
			names = append(names, fmt.Sprint("isectech-s", n))
		}
		f := clienttest.New(t, time.Now, names...)
		_, c := start(t, func(o *client.Options) {
			o.HTTP = &http.Client{Transport: f}
			o.MaxNames = 6 // with the alias of each
		})
		for _, name := range names {
			if _, err := c.Discover(t.Context(), name, "api"); !errors.Is(err, client.ErrNoEndpoint) {
				t.Error(err)
			}
			synctest.Wait()
			if n := f.Watches(); n > 6 {
				t.Fatalf("%d watches", n)
			}
		}
		time.Sleep(11 * time.Minute)
		if n := f.Watches(); n != 0 {
			t.Errorf("%d watches that nobody wants", n)
		}
	})
}

// A service that is removed is unknown at the next reading.
func TestServiceIsRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Put(forever("backend-services-1"), registry.Healthy)
		find(t, c, backend)
		f.Fail(func(r *http.Request) *clienttest.Answer {
			if r.URL.Path != "/internal/registry/watch" {
				return &clienttest.Answer{Status: http.StatusNotFound}
			}
			return nil
		})
		time.Sleep(time.Minute)
		if _, err := c.Discover(t.Context(), backend, "api"); !errors.Is(err, client.ErrUnknownService) {
			t.Error(err)
		}
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	good := client.Options{Server: "https://api.isectech.com", Environment: "production", Now: time.Now}
	for name, test := range map[string]struct {
		edit func(*client.Options)
		ok   bool
	}{
		"good":                     {func(*client.Options) {}, true},
		"loopback":                 {func(o *client.Options) { o.Server = "http://127.0.0.1:8080" }, true},
		"development":              {func(o *client.Options) { o.Server, o.Environment = "http://registry:8080", "development" }, true},
		"plain text in production": {func(o *client.Options) { o.Server = "http://api.isectech.com" }, false},
		"no URL":                   {func(o *client.Options) { o.Server = "api.isectech.com" }, false},
		"credentials in the URL":   {func(o *client.Options) { o.Server = "https://a:b@api.isectech.com" }, false},
		"no environment":           {func(o *client.Options) { o.Environment = "" }, false},
		"no clock":                 {func(o *client.Options) { o.Now = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			test.edit(&o)
			c, err := client.New(o)
			if (err == nil) != test.ok {
				t.Fatal(err)
			}
			if err == nil && c.Close(t.Context()) != nil {
				t.Error("an idle client does not close")
			}
		})
	}
}

func BenchmarkDiscover(b *testing.B) {
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
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		found, err := c.Discover(ctx, "backend-services", "api")
		if err != nil {
			b.Fatal(err)
		}
		found.Done(balance.Success)
	}
}

// A service that is known is discovered without allocating.
func TestDiscoverAllocates(t *testing.T) { //nolint:paralleltest // counts allocations of the process
	f := clienttest.New(t, time.Now, backend)
	f.Put(forever("backend-services-1"), registry.Healthy)
	c, err := client.New(client.Options{
		Server: "https://registry.test", Environment: "production", Now: time.Now, HTTP: &http.Client{Transport: f},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	find(t, c, backend)
	eventually(t, func() bool { return f.Watches() == 1 })
	if got := testing.AllocsPerRun(1000, func() { find(t, c, backend) }); got != 0 {
		t.Errorf("it allocates %v times", got)
	}
}
