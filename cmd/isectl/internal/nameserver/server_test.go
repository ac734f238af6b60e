package nameserver

import (
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// dial opens a connection for as long as the test lasts.
func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Clients ask over UDP and TCP, many at once, and one after the other over one connection.
func TestServer(t *testing.T) {
	t.Parallel()
	s := serve(t, 60)
	var group sync.WaitGroup
	for _, network := range []string{"udp", "tcp"} {
		for range 16 {
			group.Go(func() {
				client := dns.Client{Net: network, Timeout: 30 * time.Second}
				conn, err := client.Dial(s.Address())
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				for range 8 {
					reply, _, err := client.ExchangeWithConn(question(backend, dns.TypeA), conn)
					if err != nil {
						t.Errorf("%s: %v", network, err)
						return
					}
					if reply.Truncated != (network == "udp") || network == "tcp" && len(reply.Answer) != 60 {
						t.Errorf("%s: truncated %v, %d records", network, reply.Truncated, len(reply.Answer))
					}
				}
			})
		}
	}
	group.Wait()
}

// Whoever opens more connections than are served waits, and nonsense ends a connection: others are answered.
func TestServerCrowded(t *testing.T) {
	t.Parallel()
	s := serve(t, 1)
	for range 2 {
		conn := dial(t, s)
		if _, err := conn.Write([]byte{0, 3, 1, 2, 3}); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes in answer to nonsense", n)
		}
	}
	for range maxConnections + 8 {
		dial(t, s)
	}
	client := dns.Client{Timeout: 30 * time.Second}
	if _, _, err := client.Exchange(question(backend, dns.TypeA), s.Address()); err != nil {
		t.Errorf("over UDP: %v", err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	packets, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packets.Close() }()
	_, port, err := net.SplitHostPort(packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(t.Context(), port, source(1), discard()); err == nil {
		t.Errorf("listens at %s, which is taken for UDP", s.Address())
	}
}
