package redis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
)

// patience is how much longer than its budget a call may take on a machine that is busy with other tests.
const patience = 2 * time.Second

func TestCommands(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := open(t, server, roomy())
	ctx := t.Context()
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	if set, err := c.SetNew(ctx, "a", "1", time.Minute); !set || err != nil {
		t.Errorf("first set: %t, %v", set, err)
	}
	if set, err := c.SetNew(ctx, "a", "2", time.Minute); set || err != nil {
		t.Errorf("second set: %t, %v", set, err)
	}
	if _, err := c.SetNew(ctx, "b", "2", 0); err == nil {
		t.Error("a key that lives for no time was set")
	}
	server.Do("SET", "hostile", "\x00\r\n$-1\r\n\xff")
	server.Do("SET", "empty", "")
	server.Do("RPUSH", "list", "x")
	for key, want := range map[string]string{"a": "1", "hostile": "\x00\r\n$-1\r\n\xff", "empty": ""} {
		for range 2 {
			if got, ok, err := c.Get(ctx, key); string(got) != want || !ok || err != nil {
				t.Errorf("get %s: %q, %t, %v", key, got, ok, err)
			}
			if got, ok, err := c.GetCached(ctx, key, time.Minute); string(got) != want || !ok || err != nil {
				t.Errorf("get_cached %s: %q, %t, %v", key, got, ok, err)
			}
		}
	}
	for what, get := range map[string]func(key string) ([]byte, bool, error){
		"get":        func(key string) ([]byte, bool, error) { return c.Get(ctx, key) },
		"get_cached": func(key string) ([]byte, bool, error) { return c.GetCached(ctx, key, time.Minute) },
	} {
		if got, ok, err := get("missing"); got != nil || ok || err != nil {
			t.Errorf("%s of nothing: %q, %t, %v", what, got, ok, err)
		}
		if _, ok, err := get("list"); ok || !errors.Is(err, redis.ErrWrongType) {
			t.Errorf("%s of a list: %t, %v", what, ok, err)
		}
	}
	all, err := c.GetAll(ctx, []string{"a", "missing", "list", "empty", "a"})
	if diff := cmp.Diff([][]byte{[]byte("1"), nil, nil, {}, []byte("1")}, all); diff != "" || err != nil {
		t.Errorf("get_all: %v\n%s", err, diff)
	}
	if all, err := c.GetAll(ctx, nil); len(all) > 0 || err != nil {
		t.Errorf("get_all of none: %v, %v", all, err)
	}
	if _, err := c.GetAll(ctx, make([]string, redis.MaxKeys+1)); err == nil {
		t.Error("get_all of too many")
	}
	for range 2 {
		got, err := c.Run(ctx, `return {1, KEYS[1], ARGV[1], redis.call('GET', 'missing'), redis.call('GET', KEYS[1])}`, []string{"a"}, []string{"x"})
		if diff := cmp.Diff([]string{"1", "a", "x", "", "1"}, got); diff != "" || err != nil {
			t.Errorf("run: %v\n%s", err, diff)
		}
	}
	if got, err := c.Run(ctx, `return {}`, nil, nil); len(got) > 0 || err != nil {
		t.Errorf("run of nothing: %v, %v", got, err)
	}
	if _, err := c.Run(ctx, `return redis.error_reply('MY fault')`, nil, nil); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("run of a fault: %v", err)
	}
	if got := c.State(); got != redis.StateClosed {
		t.Errorf("state %s", got)
	}
}

// roomy are options for tests that are not about time.
func roomy() redis.Options {
	return redis.Options{ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, Cooldown: 10 * time.Millisecond}
}

// TestGetCachedFollows changes a key behind the client's back.
func TestGetCachedFollows(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := open(t, server, roomy())
	for _, value := range []string{"1", "2", "3"} {
		server.Do("SET", "a", value)
		eventually(t, "the new value is seen", func() bool {
			got, _, err := c.GetCached(t.Context(), "a", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return string(got) == value
		})
	}
	server.Flush()
	eventually(t, "the removal is seen", func() bool {
		_, ok, err := c.GetCached(t.Context(), "a", time.Hour)
		return !ok && err == nil
	})
}

// TestCredentials speaks to a server that wants a password, and to another database of it.
func TestCredentials(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "hunter2")
	for url, want := range map[string]bool{
		"redis://:hunter2@" + server.Addr():              true,
		"redis://:hunter2@" + server.Addr() + "/3":       true,
		"redis://default:hunter2@" + server.Addr():       true,
		"redis://:wrong@" + server.Addr():                false,
		"redis://" + server.Addr():                       false,
		"redis://:hunter2@" + server.Addr() + "/1000000": false,
	} {
		o := roomy()
		o.Now = time.Now
		c, err := redis.Open(url, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		err = c.Ping(t.Context())
		if (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && (!errors.Is(err, redis.ErrUnavailable) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// budgeted makes every kind of call and fails the test when one takes longer than its budget or does not fail.
func budgeted(t *testing.T, c *redis.Client, why string) {
	t.Helper()
	ctx := t.Context()
	calls := map[string]func() error{
		"ping":       func() error { return c.Ping(ctx) },
		"get":        func() error { _, _, err := c.Get(ctx, "a"); return err },
		"get_cached": func() error { _, _, err := c.GetCached(ctx, "a", time.Minute); return err },
		"get_all":    func() error { _, err := c.GetAll(ctx, []string{"a", "b"}); return err },
		"set_new":    func() error { _, err := c.SetNew(ctx, "a", "1", time.Minute); return err },
		"run":        func() error { _, err := c.Run(ctx, "return {1}", nil, nil); return err },
	}
	for name, call := range calls {
		began := time.Now()
		err := call()
		if took := time.Since(began); took > redis.DefaultWriteTimeout+patience {
			t.Errorf("%s: %s took %s", why, name, took)
		}
		if !errors.Is(err, redis.ErrUnavailable) {
			t.Errorf("%s: %s: %v", why, name, err)
		}
	}
}

func TestDownFromTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Stop()
	c := open(t, server, redis.Options{Cooldown: 10 * time.Millisecond})
	budgeted(t, c, "nobody listens")
	server.Start()
	eventually(t, "Redis is used once it is there", func() bool { return c.Ping(t.Context()) == nil })
	eventually(t, "the breaker closes", func() bool { return c.State() == redis.StateClosed })
}

func TestFrozenAndResumed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := open(t, server, redis.Options{Cooldown: 10 * time.Millisecond})
	eventually(t, "Redis answers", func() bool { return c.Ping(t.Context()) == nil })
	server.Pause()
	budgeted(t, c, "Redis is frozen")
	server.Resume()
	eventually(t, "Redis answers again", func() bool { return c.Ping(t.Context()) == nil })
}

func TestKilledAndStarted(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := open(t, server, roomy())
	for range 3 {
		eventually(t, "Redis answers", func() bool { return c.Ping(t.Context()) == nil })
		server.Stop()
		if err := c.Ping(t.Context()); !errors.Is(err, redis.ErrUnavailable) {
			t.Errorf("after its end: %v", err)
		}
		server.Start()
	}
	// A connection that broke while nobody called is made anew without a failed call, if Redis is there.
	eventually(t, "Redis answers", func() bool { return c.Ping(t.Context()) == nil })
	before := server.Do("CLIENT", "ID")
	server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	if err := c.Ping(t.Context()); err != nil {
		// The end of the connection may not have arrived before the call.
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("after the connection of client %s was killed: %v", before, err)
		}
	}
}

// TestBreakerSparesTheCalls counts what reaches a server that never answers.
func TestBreakerSparesTheCalls(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Pause()
	clock := &steady{at: time.Unix(1_000_000, 0)}
	var seen outcomes
	c := open(t, server, redis.Options{Now: clock.now, ReadTimeout: 10 * time.Millisecond, Failures: 3, Cooldown: time.Minute, Observe: seen.observe})
	for range 1000 {
		if _, _, err := c.Get(t.Context(), "a"); !errors.Is(err, redis.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"get timeout": 3, "get open": 997}, seen.counts()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got := c.State(); got != redis.StateOpen {
		t.Errorf("state %s", got)
	}
	clock.advance(time.Minute)
	if got := c.State(); got != redis.StateHalfOpen {
		t.Errorf("state %s after the cooldown", got)
	}
	_, _, _ = c.Get(t.Context(), "a")
	_, _, _ = c.Get(t.Context(), "a")
	if got := seen.counts()["get timeout"]; got != 4 {
		t.Errorf("%d calls were made; want one more", got-3)
	}
	server.Resume()
	clock.advance(time.Minute)
	eventually(t, "one call closes it again", func() bool {
		clock.advance(time.Minute)
		return c.Ping(t.Context()) == nil && c.State() == redis.StateClosed
	})
}

// TestCallerGivesUp has callers whose own time is over: that says nothing about Redis.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := roomy()
	var seen outcomes
	o.Observe = seen.observe
	c := open(t, server, o)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	for range 2 * redis.DefaultFailures {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, _, err := c.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		cancel()
	}
	server.Resume()
	if c.State() != redis.StateClosed || seen.counts()["get canceled"] != 2*redis.DefaultFailures {
		t.Errorf("state %s, %v", c.State(), seen.counts())
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestMoreCallsThanFit floods a frozen server.
func TestMoreCallsThanFit(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var seen outcomes
	c := open(t, server, redis.Options{ReadTimeout: time.Second, Failures: 1 << 30, Observe: seen.observe})
	eventually(t, "Redis answers", func() bool { return c.Ping(t.Context()) == nil })
	server.Pause()
	var group sync.WaitGroup
	for range 2000 {
		group.Go(func() {
			if _, _, err := c.Get(t.Context(), "a"); !errors.Is(err, redis.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if seen.counts()["get busy"] == 0 {
		t.Errorf("all calls fitted: %v", seen.counts())
	}
}

// TestNoRedisAtAll speaks to servers that are something else.
func TestNoRedisAtAll(t *testing.T) {
	t.Parallel()
	const hello = "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n+OK\r\n"
	for name, say := range map[string]func(conn net.Conn){
		"Silent":       func(net.Conn) {},
		"HangsUp":      func(conn net.Conn) { _ = conn.Close() },
		"HTTP":         func(conn net.Conn) { reply(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") },
		"Noise":        func(conn net.Conn) { reply(conn, strings.Repeat("\xde\xad\xbe\xef", 1<<16)) },
		"Endless":      func(conn net.Conn) { reply(conn, "+"); endless(conn) },
		"HugeBlob":     func(conn net.Conn) { reply(conn, hello+"$9223372036854775807\r\n") },
		"HugeArray":    func(conn net.Conn) { reply(conn, hello+"*2147483647\r\n") },
		"Unasked":      func(conn net.Conn) { reply(conn, hello+strings.Repeat("+OK\r\n", 1000)) },
		"Subscription": func(conn net.Conn) { reply(conn, hello+">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n") },
		"WrongTypes":   func(conn net.Conn) { reply(conn, hello); echo(conn, ":1\r\n") },
		"WrongNumber":  func(conn net.Conn) { reply(conn, hello); echo(conn, "*1\r\n$1\r\na\r\n") },
		"Errors":       func(conn net.Conn) { reply(conn, hello); echo(conn, "-LOADING Redis is loading\r\n") },
		"OldRedis":     func(conn net.Conn) { echo(conn, "-ERR unknown command 'HELLO'\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := redis.Open("redis://"+listen(t, say), redis.Options{Now: time.Now, Cooldown: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			for range 4 {
				budgeted(t, c, name)
			}
			if c.State() == redis.StateClosed {
				t.Error("the breaker is closed")
			}
		})
	}
}

// listen serves connections until the test ends, each after the first bytes have come.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			group.Go(func() {
				if _, err := bufio.NewReader(conn).Peek(1); err == nil {
					serve(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return l.Addr().String()
}

func reply(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

// endless writes a line that never ends.
func endless(conn net.Conn) {
	for line := slices.Repeat([]byte("a"), 1<<16); ; {
		if _, err := conn.Write(line); err != nil {
			return
		}
	}
}

// echo answers whatever comes with the same text.
func echo(conn net.Conn, text string) {
	reply(conn, text)
	buffer := make([]byte, 4<<10)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		reply(conn, text)
	}
}

// TestClose ends calls under way and refuses later ones.
func TestClose(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := open(t, server, roomy())
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if err := c.Ping(t.Context()); !errors.Is(err, redis.ErrUnavailable) {
				t.Errorf("under way: %v", err)
			}
		})
	}
	c.Close()
	group.Wait()
	if err := c.Ping(t.Context()); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("afterwards: %v", err)
	}
	c.Close()
}

// steady is a clock that stands until it is told otherwise.
type steady struct {
	mu sync.Mutex
	at time.Time
}

func (s *steady) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *steady) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

// outcomes counts what a client tells of its calls.
type outcomes struct {
	mu  sync.Mutex
	all map[string]int
}

func (o *outcomes) observe(op, result string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[string]int{}
	}
	o.all[fmt.Sprintf("%s %s", op, result)]++
}

func (o *outcomes) counts() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	counts := make(map[string]int, len(o.all))
	for what, n := range o.all {
		counts[what] = n
	}
	return counts
}
