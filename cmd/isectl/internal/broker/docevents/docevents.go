// Package docevents sends the changes of an embedded store's documents as Firestore's document events, in
// the form in which Eventarc brings them, so that their handlers cannot tell one from the other.
//
// An event is sent until it is answered with 2xx, or for a day as Eventarc does. The events of one document
// come one after the other, those of different documents at once; one that fails keeps nothing up but the
// events of its own document. Whatever was committed and not answered when the process ends is sent when it
// runs again, under the same event ids.
package docevents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

const (
	defaultConcurrency = 16
	defaultTimeout     = time.Minute
	defaultMinBackoff  = 100 * time.Millisecond
	defaultMaxBackoff  = time.Minute
	maxAge             = 24 * time.Hour

	readBatch = 256
	// trimEvery is how long answered events are gathered before the log forgets them together.
	trimEvery = 100 * time.Millisecond
)

// Log is the changelog of a store.
type Log interface {
	ReadLog(ctx context.Context, after uint64, limit int) ([]boltstore.LogRecord, error)
	TrimLog(ctx context.Context, seqs ...uint64) error
	LogAppended() <-chan struct{}
}

// Trigger sends the changes of a collection's documents to an endpoint.
type Trigger struct {
	Collection string
	Endpoint   string
}

// Options are what an emitter is made with. Log, Now, Project and Client are required.
type Options struct {
	Log      Log
	Now      func() time.Time
	Project  string
	Client   *http.Client // sends events; it should follow no redirects and go nowhere but where it is meant to
	Triggers []Trigger
	Logger   *slog.Logger        // nil: none
	Header   func(h http.Header) // adds headers to each event; nil: none

	Concurrency            int           // events of one trigger under way; 0 means 16
	Timeout                time.Duration // of one delivery; 0 means a minute
	MinBackoff, MaxBackoff time.Duration // before an event is sent again; 0 means 100 ms and a minute
}

func (o Options) completed() (Options, error) {
	if o.Log == nil || o.Now == nil || o.Client == nil || o.Project == "" {
		return o, errors.New("docevents: no log, clock, client or project")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Concurrency < 1 {
		o.Concurrency = defaultConcurrency
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = defaultMinBackoff
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = defaultMaxBackoff
	}
	return o, nil
}

// emitter is one Run.
type emitter struct {
	Options
	lanes []*lane

	mu      sync.Mutex
	owed    map[uint64]int // record → triggers that have not done with it
	settled []uint64       // records that the log may forget
	trim    chan struct{}  // holds one token when there are
}

// lane is what one trigger has to send.
type lane struct {
	Trigger
	mu    sync.Mutex
	queue *queue.Queue
	wake  chan struct{} // holds one token when it may be worth looking again
}

// Run sends what the log holds and what is appended, until ctx ends. A log that cannot be read ends it with
// an error.
func Run(ctx context.Context, opts Options) error {
	o, err := opts.completed()
	if err != nil {
		return err
	}
	e := &emitter{Options: o, owed: make(map[uint64]int), trim: make(chan struct{}, 1)}
	policy := queue.Policy{Ordered: true, MinBackoff: o.MinBackoff, MaxBackoff: o.MaxBackoff, Retention: maxAge}
	for _, t := range o.Triggers {
		e.lanes = append(e.lanes, &lane{
			Trigger: t, wake: make(chan struct{}, 1),
			queue: queue.New(policy, rand.Float64), // #nosec G404 -- jitter, not a secret
		})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	defer running.Wait()
	for _, l := range e.lanes {
		running.Go(func() { e.send(ctx, l) })
	}
	running.Go(func() {
		if err := e.forget(ctx); err != nil {
			cancel(err)
		}
	})
	if err := e.follow(ctx); err != nil {
		cancel(err)
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("document events: %w", err)
	}
	return nil
}

// follow hands the log's records to the triggers.
func (e *emitter) follow(ctx context.Context) error {
	var last uint64
	for {
		appended := e.Log.LogAppended()
		records, err := e.Log.ReadLog(ctx, last, readBatch)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // stopped, which is no failure of the log
			}
			return err
		}
		for _, r := range records {
			e.enqueue(r)
			last = r.Seq
		}
		if len(records) == readBatch {
			continue
		}
		select {
		case <-appended:
		case <-ctx.Done():
			return nil
		}
	}
}

// enqueue gives a record to the triggers of its collection. One that nobody wants is done with.
func (e *emitter) enqueue(r boltstore.LogRecord) {
	var wanted []*lane
	for _, l := range e.lanes {
		if l.Collection == r.Ref.Collection {
			wanted = append(wanted, l)
		}
	}
	e.mu.Lock()
	e.owed[r.Seq] = len(wanted)
	e.mu.Unlock()
	if len(wanted) == 0 {
		e.done(r.Seq, 0)
	}
	for _, l := range wanted {
		e.use(l, func(q *queue.Queue) {
			q.Add(queue.Message{ID: r.Seq, Key: r.Ref.String(), Published: r.At})
		})
	}
}

// done counts triggers that have done with a record.
func (e *emitter) done(seq uint64, triggers int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owed[seq] -= triggers; e.owed[seq] > 0 {
		return
	}
	delete(e.owed, seq)
	e.settled = append(e.settled, seq)
	signal(e.trim)
}

// forget lets the log forget what is done with, until ctx ends.
func (e *emitter) forget(ctx context.Context) error {
	for {
		select {
		case <-e.trim:
		case <-ctx.Done():
			return nil
		}
		pause := time.NewTimer(trimEvery)
		select {
		case <-pause.C:
		case <-ctx.Done(): // what was answered is not to be sent again
			pause.Stop()
		}
		e.mu.Lock()
		settled := e.settled
		e.settled = nil
		e.mu.Unlock()
		if len(settled) == 0 {
			continue
		}
		if err := e.Log.TrimLog(context.WithoutCancel(ctx), settled...); err != nil {
			return err
		}
	}
}

// signal leaves a token.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
