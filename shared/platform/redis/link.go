package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

var (
	errGone   = errors.New("the connection is gone")
	errClosed = errors.New("the client is closed")
)

// link keeps one connection. Connecting may take longer than a call may wait (a handshake, a cold machine),
// so it is done beside the calls and outlives the one that began it.
type link struct {
	addr    address
	options Options

	mu      sync.Mutex
	current *session
	attempt *attempt // under way
	closed  bool

	life  context.Context // ends with close
	end   context.CancelFunc
	group sync.WaitGroup // goroutines of ours
}

// session is one connection with the client that speaks on it.
type session struct {
	client rueidis.Client
	conn   net.Conn
}

type attempt struct {
	done    chan struct{}
	session *session
	err     error
}

func newLink(addr address, o Options) *link {
	l := &link{addr: addr, options: o}
	l.life, l.end = context.WithCancel(context.Background())
	return l
}

// session returns the connection, and waits for one to be made as long as ctx allows.
func (l *link) session(ctx context.Context) (*session, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, errClosed
	}
	if s := l.current; s != nil {
		l.mu.Unlock()
		return s, nil
	}
	a := l.attempt
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		l.attempt = a
		l.group.Go(func() { l.connect(a) })
	}
	l.mu.Unlock()
	select {
	case <-a.done:
		return a.session, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *link) connect(a *attempt) {
	a.err = safely(func() (err error) {
		a.session, err = l.dial()
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempt = nil
	switch {
	case a.err != nil:
		a.err = fmt.Errorf("connect to %s: %w", l.addr.hostPort(), a.err)
	case l.closed:
		l.discard(a.session)
		a.err = errClosed
	default:
		l.current = a.session
	}
	close(a.done)
}

// dial makes a connection and introduces us.
func (l *link) dial() (*session, error) {
	s := new(session)
	option := rueidis.ClientOption{
		InitAddress: []string{l.addr.hostPort()},
		Username:    l.addr.user,
		Password:    l.addr.password,
		SelectDB:    l.addr.database,
		ClientName:  "isectech",
		Dialer:      net.Dialer{Timeout: l.options.ConnectTimeout, KeepAlive: time.Second},
		// An idle connection is tried every second, and given up when that goes unanswered for one more.
		ConnWriteTimeout:    time.Second,
		CacheSizeEachConn:   cacheBytes,
		ReadBufferEachConn:  64 << 10,
		WriteBufferEachConn: 64 << 10,
		PipelineMultiplex:   -1, // one connection
		ForceSingleClient:   true,
		AlwaysPipelining:    true, // so that a call that gives up leaves the connection to the others
		DisableRetry:        true,
		ClientSetInfo:       rueidis.DisableClientSetInfo,
	}
	if l.addr.encrypted {
		option.TLSConfig = l.tls()
	}
	// The library would make a new connection within a call, whose budget may be too short for that.
	option.DialCtxFn = func(ctx context.Context, addr string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
		if s.conn != nil {
			return nil, errGone
		}
		conn, err := l.open(ctx, addr, dialer, config)
		if err != nil {
			return nil, err
		}
		s.conn = &checkedConn{Conn: conn}
		return s.conn, nil
	}
	client, err := rueidis.NewClient(option)
	s.client = client
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (l *link) open(ctx context.Context, addr string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.options.ConnectTimeout)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)() //nolint:contextcheck // the client's end is one reason to stop, ctx the other
	if config == nil {
		return dialer.DialContext(ctx, "tcp", addr)
	}
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", addr)
}

func (l *link) tls() *tls.Config {
	config := l.options.TLS.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	if config.ServerName == "" {
		config.ServerName = l.addr.host
	}
	return config
}

// drop takes a connection out of use.
func (l *link) drop(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != s {
		return // somebody has done so
	}
	l.current = nil
	l.discard(s)
}

// renew takes the present connection out of use, whatever it is good for.
func (l *link) renew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.current; s != nil {
		l.current = nil
		l.discard(s)
	}
}

// discard closes a connection beside the caller.
func (l *link) discard(s *session) { l.group.Go(s.close) }

// close ends everything, and waits until it has ended.
func (l *link) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		l.end()
		if l.current != nil {
			l.discard(l.current)
			l.current = nil
		}
	}
	l.mu.Unlock()
	l.group.Wait()
}

// close closes the connection first: the library would wait for answers that may never come.
func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.client != nil {
		s.client.Close()
	}
}
