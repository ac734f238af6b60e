package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// The bounds of what is done at once. Whoever comes beyond them over UDP gets no answer, as of a packet lost, and asks
// again; over TCP they wait.
const (
	maxPackets     = 256
	maxConnections = 64
	maxQueries     = 128 // of one connection
	answerIn       = 2 * time.Second
	idleFor        = 10 * time.Second
)

// Server answers on one port of this machine.
type Server struct {
	answerer
	packets     net.PacketConn
	connections net.Listener
}

// Listen takes a port of 127.0.0.1 for UDP and TCP, any free one for "0".
func Listen(ctx context.Context, port string, source Source, logger *slog.Logger) (*Server, error) {
	s := &Server{answerer: answerer{source: source, fail: func(err error) {
		logger.LogAttrs(ctx, slog.LevelWarn, "name not answered", slog.String("error", err.Error()))
	}}}
	const attempts = 10 // a port that is free for TCP may not be for UDP
	var err error
	for range attempts {
		if err = s.listen(ctx, port); err == nil || port != "0" {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) listen(ctx context.Context, port string) error {
	var from net.ListenConfig
	connections, err := from.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	packets, err := from.ListenPacket(ctx, "udp4", connections.Addr().String())
	if err != nil {
		return errors.Join(err, connections.Close())
	}
	s.packets, s.connections = packets, connections
	return nil
}

// Address returns the server's host:port.
func (s *Server) Address() string { return s.connections.Addr().String() }

// Close frees the port of a server that does not Serve.
func (s *Server) Close() error { return errors.Join(s.packets.Close(), s.connections.Close()) }

// Serve answers until ctx ends, and frees the port.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	failed := make(chan error, 2)
	group.Go(func() { failed <- s.servePackets(ctx) })
	group.Go(func() { failed <- s.serveConnections(ctx) })
	err := <-failed
	if closed := s.Close(); ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	} else if err != nil {
		return fmt.Errorf("serve DNS: %w", errors.Join(err, closed))
	}
	return nil
}

func (s *Server) servePackets(ctx context.Context) error {
	slots := make(chan struct{}, maxPackets)
	var group sync.WaitGroup
	defer group.Wait()
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := s.packets.ReadFrom(buffer)
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		packet := append([]byte(nil), buffer[:n]...)
		group.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, answerIn)
			defer cancel()
			if out := s.answer(ctx, packet, true); out != nil {
				_, _ = s.packets.WriteTo(out, from)
			}
		})
	}
}

func (s *Server) serveConnections(ctx context.Context) error {
	slots := make(chan struct{}, maxConnections)
	var group sync.WaitGroup
	defer group.Wait()
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := s.connections.Accept()
		if err != nil {
			return err
		}
		group.Go(func() {
			defer func() { <-slots }()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer func() { _ = conn.Close() }()
			s.serveConnection(ctx, conn)
		})
	}
}

// serveConnection answers the questions of a connection one after the other.
func (s *Server) serveConnection(ctx context.Context, conn net.Conn) {
	idle := time.AfterFunc(idleFor, func() { _ = conn.Close() })
	defer idle.Stop()
	for range maxQueries {
		idle.Reset(idleFor)
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, packet); err != nil {
			return
		}
		asked, cancel := context.WithTimeout(ctx, answerIn)
		out := s.answer(asked, packet, false)
		cancel()
		if out == nil {
			return // it talks nonsense
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil { //nolint:gosec // G115: truncated to what fits
			return
		}
	}
}
