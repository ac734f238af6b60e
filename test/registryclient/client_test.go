package registryclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/balance"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

func registration(id string) registry.Registration {
	return client.NewRegistration(backend, id, registry.Endpoint{Name: "api", URL: "https://" + id + ".isectech.com", Protocol: "https"})
}

// found returns which instances are chosen.
func found(t *testing.T, c *client.Client) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	for range 100 {
		f, err := c.Discover(t.Context(), "backend-services", "api")
		if errors.Is(err, client.ErrNoEndpoint) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Done(balance.Success)
		got[f.ServiceID] = true
	}
	return got
}

// The registry does what clients, and the registry of their tests, rely on.
func TestBehaves(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, p, 1)
		clienttest.Behaves(t, clienttest.Subject{HTTP: r, Token: r.token, Advance: time.Sleep})
	})
}

// Instances register, are found, and go on being found while the registry's instances die and come back, one by one
// and all at once. When they leave, they are found no more.
func TestRegistryDies(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, p, 3)
		owner, caller := r.client(), r.client()
		var leases []*client.Lease
		for n := range 3 {
			l, err := owner.Register(t.Context(), registration(fmt.Sprint("backend-services-", n)))
			if err != nil {
				t.Fatal(err)
			}
			leases = append(leases, l)
		}
		time.Sleep(2 * time.Second)
		if got := found(t, caller); len(got) != 3 {
			t.Fatalf("found %v", got)
		}
		for range 6 {
			r.killOne()
			time.Sleep(20 * time.Second)
			if got := found(t, caller); len(got) != 3 {
				t.Errorf("one is down: found %v", got)
			}
			r.startOne()
			time.Sleep(20 * time.Second)
		}
		for range 3 {
			r.killOne()
		}
		time.Sleep(20 * time.Minute)
		f, err := caller.Discover(t.Context(), "backend-services", "api")
		if err != nil || f.Age < 19*time.Minute {
			t.Fatalf("all are down: age %v, %v", f.Age, err)
		}
		f.Done(balance.Success)
		if _, err := leases[0].State(); !errors.Is(err, client.ErrUnavailable) {
			t.Error(err)
		}
		for range 3 {
			r.startOne()
		}
		time.Sleep(time.Minute)
		if got := found(t, caller); len(got) != 3 {
			t.Errorf("all are back: found %v", got)
		}
		for _, l := range leases {
			if i, err := l.State(); err != nil || i.Lapsed {
				t.Errorf("%+v %v", i, err)
			}
		}
		if err := leases[0].Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := found(t, caller); len(got) != 2 || got["backend-services-0"] {
			t.Errorf("one has left: found %v", got)
		}
		if err := owner.Close(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if got := found(t, caller); len(got) != 0 {
			t.Errorf("all have left: found %v", got)
		}
	})
}

// An instance that is stopping gets no more calls before it is gone.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, p, 3)
		owner, caller := r.client(func(o *client.Options) { o.Drain = 5 * time.Second }), r.client()
		ctx, sigterm := context.WithCancel(t.Context())
		defer sigterm()
		leaving, err := owner.Register(ctx, registration("backend-services-0"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Register(t.Context(), registration("backend-services-1")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := found(t, caller); len(got) != 2 {
			t.Fatalf("found %v", got)
		}
		sigterm()
		time.Sleep(2 * time.Second)
		if got := found(t, caller); len(got) != 1 || !got["backend-services-1"] {
			t.Errorf("found %v", got)
		}
		select {
		case <-leaving.Done():
			t.Error("it has left before it was drained")
		default:
		}
		<-leaving.Done()
	})
}

// A client that the registry has no history for reads everything anew.
func TestHistoryIsLost(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, p, 1)
		owner, caller := r.client(), r.client()
		first, err := owner.Register(t.Context(), registration("backend-services-0"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := found(t, caller); len(got) != 1 {
			t.Fatalf("found %v", got)
		}
		r.killOne()
		r.startOne() // for those who register; it has no history from before
		if err := first.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := owner.Register(t.Context(), registration("backend-services-1")); err != nil {
			t.Fatal(err)
		}
		r.killOne()
		time.Sleep(time.Second)
		r.startOne()
		time.Sleep(20 * time.Second)
		if got := found(t, caller); len(got) != 1 || !got["backend-services-1"] {
			t.Errorf("found %v", got)
		}
	})
}

// services are instances that answer by their ids, or fail.
type services struct {
	mu    sync.Mutex
	fails map[string]bool // by host
	calls map[string]int
}

func (s *services) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[r.URL.Host]++
	status := http.StatusOK
	if s.fails[r.URL.Host] {
		status = http.StatusInternalServerError
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}, nil
}

// What fails is left out within five failures, and back after one success.
func TestInstanceFails(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, p, 3)
		owner, caller := r.client(), r.client()
		for n := range 3 {
			if _, err := owner.Register(t.Context(), registration(fmt.Sprint("backend-services-", n))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		const bad = "backend-services-1.isectech.com"
		s := &services{fails: map[string]bool{bad: true}, calls: map[string]int{}}
		h := &http.Client{Transport: &client.Transport{Client: caller, Base: s}}
		call := func() int {
			clear(s.calls)
			for range 100 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://backend.internal.isectech.com/v1", nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := h.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
			}
			return s.calls[bad]
		}
		if n := call(); n != 5 {
			t.Errorf("called %d times", n)
		}
		time.Sleep(31 * time.Second)
		s.fails[bad] = false
		if n := call(); n < 10 {
			t.Errorf("called %d times after it had recovered", n)
		}
	})
}
