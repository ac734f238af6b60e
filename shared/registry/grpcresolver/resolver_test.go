package grpcresolver_test

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/registry/client"
	"github.com/isectech/service-networking/shared/registry/client/clienttest"
	"github.com/isectech/service-networking/shared/registry/grpcresolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const backend = "isectech-backend-services"

// service is instances over sockets, and how often each was called.
type service struct {
	t        *testing.T
	registry *clienttest.Registry

	mu        sync.Mutex
	calls     map[string]int // by address
	authority map[string]string
	fails     map[string]codes.Code
	servers   map[string]*grpc.Server // by instance
	addresses map[string]string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{
		t: t, registry: clienttest.New(t, time.Now, backend), calls: map[string]int{}, authority: map[string]string{},
		fails: map[string]codes.Code{}, servers: map[string]*grpc.Server{}, addresses: map[string]string{},
	}
	t.Cleanup(func() {
		for _, server := range s.servers {
			server.Stop()
		}
	})
	return s
}

// start starts an instance and registers it.
func (s *service) start(id, protocol string) {
	s.t.Helper()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls[id]++
		meta, _ := metadata.FromIncomingContext(ctx)
		s.authority[id] = meta.Get(":authority")[0]
		if code := s.fails[id]; code != codes.OK {
			return nil, status.Error(code, "told to")
		}
		return next(ctx, req)
	}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	s.servers[id], s.addresses[id] = server, listener.Addr().String()
	_, port, _ := net.SplitHostPort(s.addresses[id])
	number, _ := strconv.Atoi(port)
	reg := client.NewRegistration(backend, id, registry.Endpoint{Name: "rpc", URL: protocol + "://" + s.addresses[id], Protocol: protocol, Port: number})
	reg.Environment, reg.Lease = auth.Development, 0
	s.registry.Put(reg, registry.Healthy)
}

// dial returns what calls the service by a target.
func (s *service) dial(target string, creds credentials.TransportCredentials) grpc_health_v1.HealthClient {
	s.t.Helper()
	c, err := client.New(client.Options{
		Server: "https://registry.test", Environment: auth.Development, Now: time.Now, Seed: 1, HTTP: &http.Client{Transport: s.registry},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := grpc.NewClient(target, append(grpcresolver.Options(c), grpc.WithTransportCredentials(creds))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = conn.Close()
		if err := c.Close(context.WithoutCancel(s.t.Context())); err != nil {
			s.t.Error(err)
		}
	})
	return grpc_health_v1.NewHealthClient(conn)
}

// call makes so many calls, and returns how many of them each instance got, and the last error.
func (s *service) call(h grpc_health_v1.HealthClient, n int) (calls map[string]int, last error) {
	s.mu.Lock()
	clear(s.calls)
	s.mu.Unlock()
	for range n {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
		if _, err := h.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
			last = err
		}
		cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	calls = map[string]int{}
	for id, n := range s.calls {
		calls[id] = n
	}
	return calls, last
}

// until calls until the instances that are reached are as many as they should be.
func (s *service) until(h grpc_health_v1.HealthClient, instances int) {
	s.t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		calls, err := s.call(h, 100)
		if len(calls) == instances {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("reached %v, want %d: %v", calls, instances, err)
		}
	}
}

// Calls reach every instance; those that come are reached too, those that go are not, nor those that fail.
func TestCallsByName(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, id := range []string{"backend-services-1", "backend-services-2", "backend-services-3"} {
		s.start(id, "grpc")
	}
	h := s.dial("isectech:///backend-services", insecure.NewCredentials())
	s.until(h, 3)
	s.mu.Lock()
	for id, authority := range s.authority {
		if authority != s.addresses[id] {
			t.Errorf("%s is called %s", s.addresses[id], authority)
		}
	}
	s.fails["backend-services-2"] = codes.Internal
	s.mu.Unlock()
	if calls, err := s.call(h, 100); calls["backend-services-2"] != 5 || status.Code(err) != codes.Internal {
		t.Errorf("calls %v, %v", calls, err)
	}
	s.start("backend-services-4", "grpc")
	s.until(h, 3)
	s.registry.Remove("backend-services-1")
	s.until(h, 2)
	s.servers["backend-services-3"].Stop()
	s.until(h, 1)
	if calls, err := s.call(h, 10); calls["backend-services-4"] != 10 {
		t.Errorf("calls %v, %v", calls, err)
	}
}

// What the caller has to answer for does not count against an instance.
func TestRefusalsDoNotCount(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start("backend-services-1", "grpc")
	s.start("backend-services-2", "grpc")
	s.fails["backend-services-1"] = codes.NotFound
	h := s.dial("isectech:///backend/rpc", insecure.NewCredentials())
	if _, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("a name that is nobody's: %v", err)
	}
	h = s.dial("isectech:///isectech-backend-services/rpc", insecure.NewCredentials())
	s.until(h, 2)
	if calls, _ := s.call(h, 100); calls["backend-services-1"] < 20 {
		t.Errorf("calls %v", calls)
	}
}

// A connection with TLS never goes to an endpoint without, nor the other way round.
func TestSecurityIsKept(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.start("backend-services-1", "grpc")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	h := s.dial("isectech:///backend-services", credentials.NewTLS(nil))
	if _, err := h.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("TLS: %v", err)
	}
	s.registry.Remove("backend-services-1")
	s.start("backend-services-2", "grpcs")
	h = s.dial("isectech:///backend-services", insecure.NewCredentials())
	if _, err := h.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("no TLS: %v", err)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, target := range []string{"isectech:///", "isectech://host/backend-services", "isectech:///a/b/c"} {
		h := s.dial(target, insecure.NewCredentials())
		if _, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err == nil {
			t.Errorf("%s is a target", target)
		}
	}
}
