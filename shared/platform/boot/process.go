package boot

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

// A process that is told to end has 10 seconds: drainTime of them for its requests, closeTime for what is
// registered with OnShutdown, and a moment to spare.
const (
	drainTime = 8 * time.Second
	closeTime = time.Second
)

// process is what the functions of one process share.
type process struct {
	env     Env
	timeout time.Duration // of a request
	ctx     context.Context
	cancel  context.CancelFunc
	onBuilt func()       // called after each handler that is built
	traces  func() error // startTraces, once

	mu       sync.Mutex
	ending   bool
	inFlight int
	idle     chan struct{} // closed when ending and nothing is in flight
	closers  []closer
}

type closer struct {
	name  string
	close func(context.Context) error
}

func newProcess(env Env) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{
		env: env, timeout: httpx.DefaultTimeout, ctx: ctx, cancel: cancel,
		onBuilt: func() {}, idle: make(chan struct{}),
	}
	p.traces = sync.OnceValue(p.startTraces)
	return p
}

// enter counts a request in; it reports false when the process takes no more.
func (p *process) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return false
	}
	p.inFlight++
	return true
}

// leave counts a request out.
func (p *process) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	if p.ending && p.inFlight == 0 {
		close(p.idle)
	}
}

// onShutdown registers a closer.
func (p *process) onShutdown(name string, c func(context.Context) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closers = append(p.closers, closer{name, c})
}

// endOnSignal makes the process drain and exit at the first SIGTERM or interrupt. A second signal is not
// waited for: it ends the process as if nobody listened.
func (p *process) endOnSignal(exit func(int)) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		signal.Stop(signals)
		p.drain()
		exit(0)
	}()
}

// drain refuses new requests, waits for those in flight, and closes what was registered.
func (p *process) drain() {
	p.mu.Lock()
	if p.ending {
		p.mu.Unlock()
		return
	}
	p.ending = true
	inFlight, closers := p.inFlight, p.closers
	if inFlight == 0 {
		close(p.idle)
	}
	p.mu.Unlock()

	log := p.env.Logger
	log.LogAttrs(p.ctx, slog.LevelInfo, "draining", slog.Int("in_flight", inFlight))
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-p.idle:
	case <-timer.C:
		p.mu.Lock()
		inFlight = p.inFlight
		p.mu.Unlock()
		log.LogAttrs(p.ctx, slog.LevelWarn, "requests are cut off", slog.Int("in_flight", inFlight))
	}

	ctx, cancel := context.WithTimeout(p.ctx, closeTime)
	defer cancel()
	for i := len(closers) - 1; i >= 0; i-- {
		if err := p.close(ctx, closers[i]); err != nil {
			log.LogAttrs(p.ctx, slog.LevelError, "cannot close", slog.String("what", closers[i].name), slog.Any("err", err))
		}
	}
	p.cancel()
	log.LogAttrs(context.Background(), slog.LevelInfo, "drained")
}

// close runs a closer, which may be deaf to its context, for as long as ctx lasts.
func (p *process) close(ctx context.Context, c closer) error {
	done := make(chan error, 1)
	go func() { done <- c.close(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
