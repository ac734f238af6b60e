package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

// roundTrip is a http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// An instance of the registry that is behind the others does not bring back what has gone; a registry that was set
// back is believed in the end.
func TestRegistryIsBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		behind, ahead := clienttest.New(t, time.Now, backend), clienttest.New(t, time.Now, backend)
		behind.Put(forever("backend-services-1"), registry.Healthy)
		time.Sleep(time.Second)
		ahead.Put(forever("backend-services-2"), registry.Healthy)
		var stale atomic.Bool
		_, c := start(t, func(o *client.Options) {
			o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if stale.Load() {
					return behind.RoundTrip(r)
				}
				return ahead.RoundTrip(r)
			})}
		})
		find(t, c, backend)
		stale.Store(true)
		for range 36 {
			time.Sleep(time.Second)
			if found := find(t, c, backend); found.ServiceID != "backend-services-2" {
				t.Fatalf("%s is back", found.ServiceID)
			}
		}
		time.Sleep(time.Minute)
		if found := find(t, c, backend); found.ServiceID != "backend-services-1" {
			t.Errorf("%s after the registry was set back", found.ServiceID)
		}
	})
}

// Where nothing may wait, the service is read anew instead.
func TestWaitingDoesNotWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, c := start(t)
		f.Put(forever("backend-services-1"), registry.Healthy)
		f.Fail(func(r *http.Request) *clienttest.Answer {
			if r.URL.Path == "/internal/registry/watch" {
				return &clienttest.Answer{Status: http.StatusGatewayTimeout}
			}
			return nil
		})
		find(t, c, backend)
		f.Put(forever("backend-services-2"), registry.Healthy)
		time.Sleep(10 * time.Second)
		if got := ids(t, c); len(got) != 2 {
			t.Error(got)
		}
		f.Asked()
		time.Sleep(time.Minute)
		if n := len(f.Asked()); n > 120 {
			t.Errorf("%d requests in a minute", n)
		}
	})
}

// A registry that answers everything at once, with nothing, is not hammered; one that hangs costs no lease.
func TestRegistryIsOdd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		_, c := start(t, func(o *client.Options) {
			o.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				calls.Add(1)
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"service_name":"isectech-backend-services"}`))}, nil
			})}
		})
		if _, err := c.Discover(t.Context(), backend, ""); !errors.Is(err, client.ErrNoEndpoint) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if n := calls.Load(); n > 75 {
			t.Errorf("%d requests in a minute", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var f *clienttest.Registry
		var hung atomic.Int64
		f, c := start(t, func(o *client.Options) {
			inner := o.HTTP.Transport
			o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPut && hung.Add(1)%2 == 1 { // every other hangs
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				return inner.RoundTrip(r)
			})}
		})
		short := instance("backend-services-1")
		short.Lease = registry.Duration(15 * time.Second)
		if _, err := c.Register(t.Context(), short); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			time.Sleep(time.Second)
			if i, _ := f.Get("backend-services-1"); i.Lapsed {
				t.Fatal("the lease has ended")
			}
		}
	})
}

// A token goes to the registry alone, whatever it answers.
func TestTokenStaysHome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t, func(o *client.Options) {
			o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host != "registry.test" {
					t.Errorf("%s is asked, with %q", r.URL.Host, r.Header.Get("Authorization"))
				}
				header := http.Header{"Location": {"https://elsewhere.test/"}}
				return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: header, Body: http.NoBody}, nil
			})}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Discover(ctx, backend, ""); err == nil {
			t.Error("a redirection is an answer")
		}
	})
}

// Whatever a registry answers, the client goes on.
func FuzzAnswers(f *testing.F) {
	f.Add(`{"service_name":"isectech-backend-services","services":[{"service_id":"a","service_name":"isectech-backend-services","environment":"production","endpoints":[{"name":"api","url":"https://x.test","protocol":"https"}],"weight":1,"status":"healthy"}]}`, `{"index":5,"changes":[{"type":"deleted","service":{"service_id":"a"}}]}`)
	f.Add(`{"services":null}`, `{"changes":[{}]}`)
	f.Add(`[]`, `{"index":-1}`)
	f.Add(`{"service_name":"isectech-backend-services","services":[{"service_name":"isectech-backend-services","environment":"production","weight":-5,"status":"healthy","endpoints":[{"url":"::","protocol":"http"}],"lease_expires_at":"0001-01-01T00:00:00Z"}]}`, ``)
	f.Fuzz(func(t *testing.T, list, watch string) {
		synctest.Test(t, func(t *testing.T) {
			_, c := start(t, func(o *client.Options) {
				o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					body := list
					if strings.HasSuffix(r.URL.Path, "/watch") {
						body = watch
					}
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
				})}
			})
			transport := &client.Transport{Client: c, Base: &fleet{}}
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				_, _ = call(ctx, transport, http.MethodGet, "http://backend-services/x", "")
				cancel()
				time.Sleep(time.Second)
			}
		})
	})
}

// A change that is older than what is known is not one.
func TestOldChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const is = `{"service_id":"backend-services-1","service_name":"isectech-backend-services","environment":"production","weight":1,
			"endpoints":[{"name":"api","url":"https://a.test","protocol":"https"}],`
		told := false
		_, c := start(t, func(o *client.Options) {
			o.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				body := `{"service_name":"isectech-backend-services","services":[` + is + `"status":"healthy","updated_at":"2026-01-04T12:00:01Z"}]}`
				switch {
				case !strings.HasSuffix(r.URL.Path, "/watch"):
				case told:
					<-r.Context().Done()
					return nil, r.Context().Err()
				default:
					told = true
					body = `{"index":7,"changes":[{"type":"updated","service":` + is + `"status":"maintenance","updated_at":"2026-01-04T12:00:00Z"}}]}`
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
			})}
		})
		find(t, c, backend)
		time.Sleep(time.Second)
		find(t, c, backend)
	})
}
