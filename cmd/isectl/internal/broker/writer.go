package broker

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// groupSize and groupBytes bound what goes to the disk together.
	groupSize  = 256
	groupBytes = 32 << 20
	// linger is how long what nobody waits for may wait for company.
	linger = 10 * time.Millisecond
)

// op is one change of the state.
type op struct {
	do    func(tx *transaction) error // decides and puts; after an error it has changed nothing
	size  int                         // bytes, roughly
	alone bool                        // not together with others
	done  chan error                  // nil: nobody waits
}

// transaction is the part of an update that one op sees.
type transaction struct {
	*state
	put   func(bucket string, key, value []byte)
	now   time.Time
	after []func() // what follows once it is durable
}

// writer makes all changes of the state, one after the other; those that come while the disk is busy go to
// it together.
type writer struct {
	disk  disk
	state *state
	now   func() time.Time

	mu      sync.Mutex
	queue   []*op
	waited  bool // somebody waits for one of them
	stopped bool
	signal  chan struct{} // holds one token when there is something to look at
	ended   chan struct{}

	broken error // the run's own: what the disk holds is not known any more
}

func newWriter(d disk, s *state, now func() time.Time) *writer {
	return &writer{disk: d, state: s, now: now, signal: make(chan struct{}, 1), ended: make(chan struct{})}
}

var errClosed = status.Error(codes.Unavailable, "The broker is closed.")

// submit queues an op.
func (w *writer) submit(o *op) error {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, o)
	w.waited = w.waited || o.done != nil || o.alone
	w.mu.Unlock()
	w.wake()
	return nil
}

func (w *writer) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// wait submits an op and waits until it is durable. An op whose caller has gone is done all the same.
func (w *writer) wait(ctx context.Context, o *op) error {
	o.done = make(chan error, 1)
	if err := w.submit(o); err != nil {
		return err
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// later submits an op that nobody waits for. After Close it is as if the process had been killed before.
func (w *writer) later(do func(tx *transaction) error) {
	_ = w.submit(&op{do: do})
}

// stop lets the writer finish what it was given.
func (w *writer) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.wake()
	<-w.ended
}

func (w *writer) run() {
	defer close(w.ended)
	for {
		group, stopped := w.next()
		if len(group) > 0 {
			w.commit(group)
			continue
		}
		if stopped {
			return
		}
		<-w.signal
	}
}

// next takes what goes to the disk next. Where nobody waits it gives others a moment to come along.
func (w *writer) next() (group []*op, stopped bool) {
	w.mu.Lock()
	linger := len(w.queue) > 0 && !w.waited && !w.stopped
	w.mu.Unlock()
	if linger {
		w.linger()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for n < len(w.queue) && n < groupSize && size <= groupBytes {
		if w.queue[n].alone && n > 0 {
			break
		}
		size += w.queue[n].size
		n++
		if w.queue[n-1].alone {
			break
		}
	}
	group = append(group, w.queue[:n]...)
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	if rest == 0 {
		w.waited = false
	}
	return group, w.stopped
}

func (w *writer) linger() {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-w.signal:
			w.mu.Lock()
			enough := w.waited || w.stopped || len(w.queue) >= groupSize
			w.mu.Unlock()
			if enough {
				return
			}
		}
	}
}

// commit performs a group. After a failure of the disk nothing is changed any more until the file is opened
// anew.
func (w *writer) commit(group []*op) {
	results := make([]error, len(group))
	var after []func()
	if w.broken == nil {
		err := w.disk.update(func(put func(bucket string, key, value []byte)) error {
			tx := &transaction{state: w.state, put: put, now: w.now()}
			for i, o := range group {
				results[i] = o.do(tx)
			}
			after = tx.after
			return nil
		})
		if err != nil {
			w.broken = status.Errorf(codes.Unavailable, "Writing has stopped: %v", err)
		}
	}
	if w.broken == nil {
		for _, fn := range after {
			fn()
		}
	}
	for i, o := range group {
		if o.done == nil {
			continue
		}
		if w.broken != nil {
			results[i] = w.broken
		}
		o.done <- results[i]
	}
}
