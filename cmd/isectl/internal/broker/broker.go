// Package broker is a Pub/Sub inside the process: the gRPC services of google.cloud.pubsub.v1, reached by
// the real client over a pipe in memory, or by other processes over a loopback port, so that the platform
// runs on one machine without an account.
//
// It serves topics, publishing, subscriptions with filters, ordering keys, retry policies and dead-letter
// topics, pull and streaming pull, and push over HTTP as Eventarc and Pub/Sub itself send it. What Publish
// has accepted is delivered at least once, also when the process is killed in between. Push needs no
// credentials here: an OIDC configuration is kept and shown, and no token is sent. Expiration policies are
// kept likewise; no subscription expires. Snapshots, seeking, schemas, transformations, exactly-once
// delivery and exports are UNIMPLEMENTED.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

const (
	// pipeSize is the buffer of the pipe between client and server.
	pipeSize = 1 << 20
	// maxCall bounds a call's message: a Publish of the most that is allowed, with room for its envelope.
	maxCall = 16 << 20

	defaultPushConcurrency = 64
	// housekeeping is how often subscriptions that nobody pulls from are looked after.
	housekeeping = time.Minute
)

// Options are what a broker is made with. Now is required.
type Options struct {
	Now    func() time.Time
	Logger *slog.Logger // nil: none

	// Endpoint says whether messages may be pushed to a URL. Nil: only to this machine.
	Endpoint func(*url.URL) error
	// Transport sends pushes. Nil: one that connects to loopback addresses alone.
	Transport http.RoundTripper
	// PushConcurrency bounds the pushes of one subscription that are under way; 0 means 64.
	PushConcurrency int
	// PushHeader adds headers to a push. It sees where the push goes: whoever can reach the broker can
	// make a subscription, so what is secret belongs only to endpoints that are known.
	PushHeader func(endpoint *url.URL, h http.Header)
	// Raw says which subscriptions are pushed as Pub/Sub itself does, without the CloudEvent's headers
	// that Eventarc adds. Nil: none.
	Raw func(*pubsubpb.Subscription) bool

	// Server adds options to the gRPC server: tests put interceptors around calls.
	Server []grpc.ServerOption
}

// Broker is a running Pub/Sub. It is safe for concurrent use.
type Broker struct {
	pubsubpb.UnimplementedPublisherServer
	pubsubpb.UnimplementedSubscriberServer

	now    func() time.Time
	logger *slog.Logger
	opts   Options
	http   *http.Client

	state  *state
	writer *writer

	listener *bufconn.Listener
	grpc     *grpc.Server
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	running  sync.WaitGroup
	closed   sync.Once
	closeErr error
}

// Open starts a broker whose messages, topics and subscriptions lie in a file (made with mode 0600 if
// absent, held by one process at a time) or, when path is empty, end with it.
func Open(path string, opts Options) (*Broker, error) {
	if opts.Now == nil {
		return nil, errors.New("broker: no clock")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Endpoint == nil {
		opts.Endpoint = loopbackURL
	}
	if opts.Transport == nil {
		opts.Transport = LoopbackTransport()
	}
	if opts.PushConcurrency < 1 {
		opts.PushConcurrency = defaultPushConcurrency
	}
	disk, err := openDisk(path)
	if err != nil {
		return nil, fmt.Errorf("broker: open %s: %w", path, err)
	}
	b := &Broker{
		now: opts.Now, logger: opts.Logger, opts: opts, listener: bufconn.Listen(pipeSize),
		http: &http.Client{Transport: opts.Transport, CheckRedirect: noRedirects},
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	if b.state, err = loadState(disk, b.newSubscription); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: open %s: %w", path, err), disk.close())
	}
	b.writer = newWriter(disk, b.state, opts.Now)
	b.start(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxCall), grpc.MaxSendMsgSize(maxCall), grpc.WaitForHandlers(true),
	}, opts.Server...))
	return b, nil
}

// start starts what runs until Close.
func (b *Broker) start(options []grpc.ServerOption) {
	b.grpc = grpc.NewServer(options...)
	pubsubpb.RegisterPublisherServer(b.grpc, b)
	pubsubpb.RegisterSubscriberServer(b.grpc, b)
	b.running.Go(func() { _ = b.grpc.Serve(b.listener) }) // ends by Close alone: a pipe in memory cannot fail
	b.running.Go(func() { b.writer.run() })
	b.running.Go(b.housekeep)
	for _, s := range b.state.all() {
		b.startPush(s)
	}
}

// Close stops the broker: calls and pushes under way are cut off, what was accepted is kept.
func (b *Broker) Close() error {
	b.closed.Do(func() {
		b.stop()
		b.grpc.Stop()
		b.writer.stop()
		b.running.Wait()
		if t, ok := b.opts.Transport.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
		b.closeErr = b.writer.disk.close()
	})
	return b.closeErr
}

// ClientOptions returns the options that connect one Google client to the broker; the client's Close ends
// the connection.
func (b *Broker) ClientOptions() ([]option.ClientOption, error) {
	conn, err := grpc.NewClient("passthrough:///broker",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the pipe never leaves the process
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return b.listener.DialContext(ctx)
		}))
	if err != nil {
		return nil, fmt.Errorf("broker: connect: %w", err)
	}
	return []option.ClientOption{option.WithGRPCConn(conn), option.WithoutAuthentication()}, nil
}

// Serve answers other processes, which name the listener's address in PUBSUB_EMULATOR_HOST, until Close.
// Nothing is asked of who connects, so only a loopback address is served.
func (b *Broker) Serve(l net.Listener) error {
	if addr, ok := l.Addr().(*net.TCPAddr); !ok || !addr.IP.IsLoopback() {
		return fmt.Errorf("broker: %s is not a loopback address", l.Addr())
	}
	if err := b.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// housekeep lets time pass for subscriptions that nobody pulls from: what is too old goes, and what has
// failed too often is given up.
func (b *Broker) housekeep() {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, s := range b.state.all() {
				s.advance()
			}
		case <-b.ctx.Done():
			return
		}
	}
}
