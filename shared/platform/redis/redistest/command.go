package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds a command of a test.
const commandTimeout = 10 * time.Second

// Do runs a command, on a connection of its own, and returns its answer as text, the elements of an array one
// a line. It fails the test on any error.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	answer, err := s.Try(args...)
	if err != nil {
		s.t.Fatalf("redistest: %.80q: %v", args, err)
	}
	return answer
}

// Try is Do that returns the error. Nothing (nil) is "".
func (s *Server) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return "", err
	}
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(conn, command.String()); err != nil {
		return "", err
	}
	return answer(bufio.NewReader(conn))
}

func answer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New(text)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return "", err
	}
	if kind == '$' {
		data := make([]byte, n+2)
		_, err := io.ReadFull(r, data)
		return string(data[:n]), err
	}
	elements := make([]string, n)
	for i := range elements {
		if elements[i], err = answer(r); err != nil {
			return "", err
		}
	}
	return strings.Join(elements, "\n"), nil
}

// Keys returns the names of all keys.
func (s *Server) Keys() []string {
	s.t.Helper()
	return strings.Fields(s.Do("KEYS", "*"))
}

// Flush removes every key.
func (s *Server) Flush() { s.Do("FLUSHALL", "SYNC") }

// garbage are values that no program of ours writes, by how to write them to a key.
var garbage = [][]string{
	{"SET", "", ""},
	{"SET", "", "\x00\xff\xfe garbage"},
	{"SET", "", `{"format":1,"generation":9223372036854775807}`},
	{"SET", "", strings.Repeat("{", 100_000)},
	{"SET", "", "-1"},
	{"RPUSH", "", "a", "b"},
	{"HSET", "", "a", "b"},
	{"SADD", "", "a", "b"},
	{"ZADD", "", "1", "a", "inf", "b", "-inf", ""},
	{"XADD", "", "*", "a", "b"},
}

// GarbageKinds is how many kinds of garbage there are.
const GarbageKinds = 10

// Garbage puts garbage of a kind, counted from 0 and round again, into a key.
func (s *Server) Garbage(key string, kind int) {
	s.t.Helper()
	command := append([]string(nil), garbage[kind%len(garbage)]...)
	command[1] = key
	s.Do("UNLINK", key)
	if _, err := s.Try(command...); err != nil && !strings.HasPrefix(err.Error(), "WRONGTYPE") {
		s.t.Errorf("redistest: %.80q: %v", command, err) // WRONGTYPE: somebody was quicker
	}
}
