package docevents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

const (
	// leaseMargin is how much longer an event is leased than its delivery may take.
	leaseMargin = 5 * time.Second
	// maxAnswer bounds what is read of an answer, so that its connection can be used again.
	maxAnswer = 64 << 10
)

// use lets fn use a trigger's queue and then does what follows from that.
func (e *emitter) use(l *lane, fn func(q *queue.Queue)) {
	l.mu.Lock()
	fn(l.queue)
	effects := l.queue.Effects()
	l.mu.Unlock()
	signal(l.wake)
	for _, seq := range effects.Done {
		e.done(seq, 1)
	}
}

// send sends a trigger's events until ctx ends.
func (e *emitter) send(ctx context.Context, l *lane) {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, e.Concurrency)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		d, ok := e.next(ctx, l)
		if !ok {
			return
		}
		running.Go(func() {
			defer func() { <-slots }()
			e.sendOne(ctx, l, d)
		})
	}
}

// next waits for an event that may be sent; false when ctx has ended.
func (e *emitter) next(ctx context.Context, l *lane) (queue.Delivery, bool) {
	for ctx.Err() == nil {
		var taken []queue.Delivery
		var due <-chan time.Time
		var timer *time.Timer
		l.mu.Lock()
		now := e.Now()
		taken = l.queue.Take(now, now.Add(e.Timeout+leaseMargin), queue.Demand{Messages: 1})
		effects := l.queue.Effects()
		if at, ok := l.queue.Next(); ok && len(taken) == 0 {
			timer = time.NewTimer(max(at.Sub(now), 0))
			due = timer.C
		}
		l.mu.Unlock()
		for _, seq := range effects.Done { // too old
			e.Logger.LogAttrs(ctx, slog.LevelError, "document event dropped",
				slog.String("endpoint", l.Endpoint), slog.Uint64("seq", seq))
			e.done(seq, 1)
		}
		if len(taken) > 0 {
			return taken[0], true
		}
		select {
		case <-l.wake:
		case <-due:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
	}
	return queue.Delivery{}, false
}

// sendOne sends one event and judges the answer: any 2xx is done.
func (e *emitter) sendOne(ctx context.Context, l *lane, d queue.Delivery) {
	err := e.deliver(ctx, l, d.ID)
	e.use(l, func(q *queue.Queue) {
		if err == nil {
			q.Ack(d.ID, d.Lease)
			return
		}
		q.Nack(e.Now(), d.ID, d.Lease)
	})
	if err != nil && ctx.Err() == nil {
		e.Logger.LogAttrs(ctx, slog.LevelWarn, "document event not delivered", slog.String("endpoint", l.Endpoint),
			slog.Uint64("seq", d.ID), slog.Int("attempt", d.Attempt), slog.String("error", err.Error()))
	}
}

func (e *emitter) deliver(ctx context.Context, l *lane, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	records, err := e.Log.ReadLog(ctx, seq-1, 1)
	if err != nil {
		return err
	}
	if len(records) == 0 || records[0].Seq != seq {
		return nil // forgotten: somebody has done with it
	}
	return e.post(ctx, l.Endpoint, records[0])
}

func (e *emitter) post(ctx context.Context, endpoint string, r boltstore.LogRecord) error {
	body, err := payload(e.Project, r)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	setHeader(req.Header, e.Project, r)
	if e.Header != nil {
		e.Header(req.Header)
	}
	resp, err := e.Client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it matters
	if _, err := io.CopyN(io.Discard, resp.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
