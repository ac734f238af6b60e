package client_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const backend = "isectech-backend-services"

// start returns a registry in memory, and a client of it. It is for a bubble, whose goroutines all end with it.
func start(t *testing.T, edit ...func(*client.Options)) (*clienttest.Registry, *client.Client) {
	t.Helper()
	f := clienttest.New(t, time.Now, backend, "isectech-admin")
	o := client.Options{
		Server: "https://registry.test", Environment: auth.Production, Now: time.Now, Seed: 1,
		HTTP:  &http.Client{Transport: f},
		Token: func(context.Context, string) (string, error) { return "a-token", nil },
	}
	for _, e := range edit {
		e(&o)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Fail(nil)
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return f, c
}

func instance(id string) registry.Registration {
	reg := client.NewRegistration(backend, id, registry.Endpoint{Name: "api", URL: "https://" + id + ".run.test", Protocol: "https", Port: 443})
	reg.Environment = auth.Production
	return reg
}

func count(asked []string, what string) (n int) {
	for _, a := range asked {
		if strings.HasPrefix(a, what) {
			n++
		}
	}
	return n
}

// The lease never ends while it is kept, at three renewals in its time, and leaving says so first.
func TestLeaseIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		l, err := c.Register(t.Context(), instance("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		for range 900 {
			time.Sleep(time.Second)
			if i, ok := f.Get("backend-services-1"); !ok || i.Lapsed || i.Status != registry.Healthy {
				t.Fatalf("%+v", i)
			}
		}
		if n := count(f.Asked(), "PUT"); n < 28 || n > 40 {
			t.Errorf("%d renewals in 15 minutes", n)
		}
		began := time.Now()
		for range 2 {
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("leaving takes %v", took)
		}
		want := []string{"PATCH /internal/registry/services/backend-services-1", "DELETE /internal/registry/services/backend-services-1"}
		if diff := cmp.Diff(want, f.Asked()); diff != "" {
			t.Error(diff)
		}
		if again, err := c.Register(t.Context(), instance("backend-services-1")); err != nil || again == l {
			t.Error("cannot register again after leaving", err)
		}
	})
}

// The end of the context makes the instance leave; so does the end of the client, which takes no more.
func TestLeaseEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		ctx, cancel := context.WithCancel(t.Context())
		l, err := c.Register(ctx, instance("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if i, ok := f.Get("backend-services-1"); !ok || i.Status != registry.Stopping {
			t.Errorf("%+v", i)
		}
		if _, err := c.Register(t.Context(), instance("backend-services-1")); !errors.Is(err, client.ErrLeaving) {
			t.Error(err)
		}
		<-l.Done()
		if _, ok := f.Get("backend-services-1"); ok {
			t.Error("still there")
		}
		if _, err := c.Register(t.Context(), instance("backend-services-2")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if _, ok := f.Get("backend-services-2"); ok {
			t.Error("still there after the client's end")
		}
		if _, err := c.Register(t.Context(), instance("backend-services-2")); !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
		if _, err := c.Discover(t.Context(), "backend-services", "api"); !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
	})
}

// An instance that the registry has forgotten, or whose lease ended while nothing ran, is registered again.
func TestLeaseComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		l, err := c.Register(t.Context(), instance("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		f.Remove("backend-services-1")
		time.Sleep(40 * time.Second)
		if i, ok := f.Get("backend-services-1"); !ok || i.Lapsed {
			t.Fatalf("not registered again: %+v", i)
		}
		f.Fail(func(*http.Request) *clienttest.Answer {
			return &clienttest.Answer{Status: http.StatusServiceUnavailable}
		})
		time.Sleep(10 * time.Minute)
		if i, _ := f.Get("backend-services-1"); !i.Lapsed {
			t.Fatal("renewed by a registry that does not answer")
		}
		if _, err := l.State(); !errors.Is(err, client.ErrUnavailable) {
			t.Error(err)
		}
		if n := len(f.Asked()); n > 100 {
			t.Errorf("%d requests in ten minutes", n)
		}
		f.Fail(nil)
		time.Sleep(20 * time.Second)
		if i, err := l.State(); err != nil || i.Lapsed {
			t.Errorf("%+v %v", i, err)
		}
	})
}

// A service starts without the registry, and a refusal is its own fault.
func TestFirstRegistration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Fail(func(*http.Request) *clienttest.Answer {
			return &clienttest.Answer{Status: http.StatusServiceUnavailable, RetryAfter: "20"}
		})
		l, err := c.Register(t.Context(), instance("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(19 * time.Second)
		if asked := f.Asked(); len(asked) != 1 {
			t.Errorf("asked again before it was told to: %v", asked)
		}
		f.Fail(nil)
		time.Sleep(6 * time.Second)
		if _, err := l.State(); err != nil {
			t.Error(err)
		}
		wrong := instance("backend-services-2")
		wrong.ServiceName = "isectech-nobody"
		_, err = c.Register(t.Context(), wrong)
		if refused, ok := errors.AsType[*client.RefusedError](err); !ok || refused.Status != http.StatusForbidden || refused.Code != "not_owner" {
			t.Error(err)
		}
		// A second registration of an id is the same lease, with something new to say.
		changed := instance("backend-services-1")
		changed.Weight = 7
		if again, err := c.Register(t.Context(), changed); again != l || err != nil {
			t.Error(err)
		}
		if i, _ := f.Get("backend-services-1"); i.Weight != 7 {
			t.Errorf("weight %d", i.Weight)
		}
	})
}

// What is woken by requests has no lease: nothing renews it and it stays.
func TestWithoutLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		reg := instance("backend-services-1")
		reg.Lease = 0
		l, err := c.Register(t.Context(), reg)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if asked := f.Asked(); !slices.Equal(asked, []string{"POST /internal/registry/register"}) {
			t.Error(asked)
		}
	})
}

// Leaving has its bounds, whatever the registry does.
func TestLeavingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		l, err := c.Register(t.Context(), instance("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		f.Fail(func(*http.Request) *clienttest.Answer {
			return &clienttest.Answer{Status: http.StatusInternalServerError}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, client.ErrLeaving) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		began := time.Now()
		if err := l.Close(t.Context()); !errors.Is(err, client.ErrUnavailable) {
			t.Error(err)
		}
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("takes %v", took)
		}
	})
}

// A registration that is under way when the instance is to leave does not take effect after the leaving.
func TestLeavingOvertakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t, func(o *client.Options) {
			inner := o.HTTP.Transport
			o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodPost {
					return inner.RoundTrip(r)
				}
				type answer struct {
					res *http.Response
					err error
				}
				answered := make(chan answer, 1)
				go func() { //nolint:contextcheck // it takes its time, whether or not anyone waits
					time.Sleep(time.Second)
					res, err := inner.RoundTrip(r.WithContext(context.WithoutCancel(r.Context()))) //nolint:bodyclose // its reader closes it
					answered <- answer{res, err}
				}()
				select {
				case a := <-answered:
					return a.res, a.err
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			})}
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		l, err := c.Register(ctx, instance("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		<-l.Done()
		time.Sleep(10 * time.Second)
		if i, ok := f.Get("backend-services-1"); ok {
			t.Errorf("it is back: %+v", i)
		}
	})
}
