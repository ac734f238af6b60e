// Package load asks servers for as much as they can give and says what they took for it: each is a process of its own
// with one processor, asked over connections that stay open with requests that were made before, at as little cost
// of the asker's own as can be.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// client asks one server. It shares the machine with what it measures.
type client struct {
	address string
	conns   []*bufio.ReadWriter
	closers []net.Conn
}

// dial opens n connections.
func dial(ctx context.Context, address string, n int) (*client, error) {
	c := &client{address: address}
	for range n {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			c.close()
			return nil, err
		}
		c.closers = append(c.closers, conn)
		c.conns = append(c.conns, bufio.NewReadWriter(bufio.NewReaderSize(conn, 8<<10), bufio.NewWriterSize(conn, 8<<10)))
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.closers {
		_ = conn.Close()
	}
}

// once sends one request and returns the answer's status and body.
func (c *client) once(request []byte) (status int, body []byte, err error) {
	conn := c.conns[0]
	if err := send(conn.Writer, request); err != nil {
		return 0, nil, err
	}
	res, err := http.ReadResponse(conn.Reader, nil)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// load sends requests until there are no more, which next tells by nil, or the time is up, and returns how
// many were answered, with 200 all of them, and how long it took.
func (c *client) load(ctx context.Context, d time.Duration, next func(i int64) []byte) (answered int64, took time.Duration, err error) {
	var sent atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for _, conn := range c.conns {
		group.Go(func() error {
			for time.Since(start) < d && ctx.Err() == nil {
				request := next(sent.Add(1) - 1)
				if request == nil {
					return nil
				}
				if err := exchange(conn, request); err != nil {
					return fmt.Errorf("%s: %w", c.address, err)
				}
				atomic.AddInt64(&answered, 1)
			}
			return nil
		})
	}
	err = group.Wait()
	return answered, time.Since(start), err
}

func send(w *bufio.Writer, request []byte) error {
	if _, err := w.Write(request); err != nil {
		return err
	}
	return w.Flush()
}

var (
	okLine   = []byte("HTTP/1.1 200 ")
	length   = []byte("Content-Length: ")
	inChunks = []byte("Transfer-Encoding: chunked")

	errNotOK  = errors.New("an answer is not 200")
	errLength = errors.New("an answer does not say how long it is")
)

// exchange sends a request and reads its answer, of which it looks at status and length alone.
func exchange(conn *bufio.ReadWriter, request []byte) error {
	if err := send(conn.Writer, request); err != nil {
		return err
	}
	line, err := conn.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, okLine) {
		return fmt.Errorf("%w: %s", errNotOK, bytes.TrimSpace(line))
	}
	size, chunked := -1, false
	for {
		if line, err = conn.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if text, ok := bytes.CutPrefix(line, length); ok {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return err
			}
		}
		chunked = chunked || bytes.HasPrefix(line, inChunks)
	}
	switch {
	case chunked:
		return discardChunks(conn.Reader)
	case size < 0:
		return errLength
	}
	_, err = conn.Discard(size)
	return err
}

// discardChunks reads a body that comes in chunks, without trailers.
func discardChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(size) + len("\r\n")); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}
