package load

import (
	"context"
	"time"
)

// Server is a process that is asked.
type Server struct {
	Name string
	*Process
	Connections int
}

// Measurement is what one turn showed.
type Measurement struct {
	Rate float64 // requests a second
	CPU  float64 // microseconds of the server's a request
}

// Turn asks a server for a time with whatever next returns, over connections of its own: none is idle for as long
// as the others take.
func (s *Server) Turn(ctx context.Context, warm, d time.Duration, next func(i int64) []byte) (Measurement, error) {
	c, err := dial(ctx, s.Address, s.Connections)
	if err != nil {
		return Measurement{}, err
	}
	defer c.close()
	if _, _, err := c.load(ctx, warm, next); err != nil {
		return Measurement{}, err
	}
	before, err := s.CPU()
	if err != nil {
		return Measurement{}, err
	}
	n, took, err := c.load(ctx, d, next)
	if err != nil {
		return Measurement{}, err
	}
	after, err := s.CPU()
	if err != nil {
		return Measurement{}, err
	}
	return Measurement{
		Rate: float64(n) / took.Seconds(),
		CPU:  float64((after - before).Microseconds()) / float64(n),
	}, nil
}

// Once sends one request and returns the answer's status and body.
func (s *Server) Once(ctx context.Context, request []byte) (status int, body []byte, err error) {
	c, err := dial(ctx, s.Address, 1)
	if err != nil {
		return 0, nil, err
	}
	defer c.close()
	return c.once(request)
}
