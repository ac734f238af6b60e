package client_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

// listen serves a handler at an address.
func listen(t *testing.T, address string, h http.Handler) *httptest.Server {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(h)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	return server
}

// eventually polls until something is so.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatal("it does not come about")
		}
	}
}

// All of it over sockets: calls reach instances by name, and the registry's end is survived.
func TestOverTheNetwork(t *testing.T) {
	t.Parallel()
	f := clienttest.New(t, time.Now, backend)
	listening := listen(t, "127.0.0.1:0", f)
	address := listening.Listener.Addr().String()
	instances := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Asked", r.Host+r.URL.Path)
	}))
	defer instances.Close()

	base := &http.Transport{}
	defer base.CloseIdleConnections()
	c, err := client.New(client.Options{Server: "http://" + address, Environment: auth.Development, Now: time.Now, HTTP: &http.Client{Transport: base}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	reg := forever("backend-services-1")
	reg.Environment = auth.Development
	reg.Endpoints = []registry.Endpoint{{Name: "api", URL: instances.URL, Protocol: "http", Path: "/base", Port: 80}}
	f.Put(reg, registry.Healthy)
	h := &http.Client{Transport: &client.Transport{Client: c, Base: base}}
	get := func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://backend-services/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := h.Do(req)
		if err != nil {
			return err.Error()
		}
		_ = res.Body.Close()
		return res.Header.Get("X-Asked")
	}
	want := instances.Listener.Addr().String() + "/base/x"
	if got := get(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	eventually(t, func() bool { return f.Watches() == 1 })
	listening.CloseClientConnections()
	listening.Close()
	if got := get(); got != want {
		t.Errorf("without the registry: %s", got)
	}
	f.Remove("backend-services-1")
	listening = listen(t, address, f)
	defer listening.Close()
	defer listening.CloseClientConnections()
	eventually(t, func() bool { return get() != want })
}
