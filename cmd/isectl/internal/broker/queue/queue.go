// Package queue decides what a subscription delivers next: which message, to whom it is leased and until
// when, when one that failed comes again, and when it is given up.
//
// It keeps no payloads, reads no clock and starts nothing: every call is told the time, and what follows
// from it for others is handed out by Effects. A Queue is not safe for concurrent use.
package queue

import (
	"container/heap"
	"time"
)

// Policy is how a queue delivers.
type Policy struct {
	// Ordered delivers the messages of one key in the order in which they were added: none before those
	// before it are acknowledged, unless they go out together, and all those after one that failed again.
	Ordered bool
	// MinBackoff and MaxBackoff bound the exponential delay before a message that failed comes again.
	// With MaxBackoff 0 it comes again at once.
	MinBackoff, MaxBackoff time.Duration
	// MaxAttempts is after how many failed deliveries a message is given up; 0: never.
	MaxAttempts int
	// Retention is how long after its publication a message is kept; 0: for ever.
	Retention time.Duration
}

// Message is what a queue knows of a message.
type Message struct {
	ID        uint64 // rises with every Add
	Key       string // ordering key; "" is no key
	Size      int    // bytes
	Published time.Time
	Failures  int // failed deliveries so far
}

// Demand bounds what one Take may lease.
type Demand struct {
	Messages int
	Bytes    int // 0: any number; one message is always within it
}

// Delivery is a message that has been leased.
type Delivery struct {
	ID      uint64
	Lease   uint64 // unlike that of any other delivery of this queue
	Size    int
	Attempt int // from 1
}

// Failure says how often a message has failed.
type Failure struct {
	ID       uint64
	Failures int
}

// Effects are what the calls since the last Effects mean for others.
type Effects struct {
	Done   []uint64  // messages that are not needed any more
	Failed []Failure // deliveries that failed, for whoever keeps count
	Dead   []uint64  // messages that have been given up: each waits for Remove or Return
	Ended  []uint64  // leases that are over, in whatever way
}

type state uint8

const (
	queued  state = iota
	waiting       // until at, after a failure
	leased        // until at
	acked         // but one before it in its lane is not
	dead          // until Remove or Return
	gone
)

// item is a message in the queue.
type item struct {
	Message
	state state
	lease uint64
	at    time.Time
	lane  *lane
	index int // in the heap that it is in: ready, or timed
}

// Queue holds the messages of one subscription.
type Queue struct {
	policy Policy
	jitter func() float64 // in [0, 1)

	items  map[uint64]*item
	fifo   []*item // in order of publication, with those that are gone
	lanes  map[string]*lane
	ready  readyHeap // may be taken
	timed  timedHeap // waiting or leased
	leases uint64

	effects Effects
}

// New makes an empty queue. jitter spreads delays; it returns numbers from 0 to below 1.
func New(p Policy, jitter func() float64) *Queue {
	return &Queue{policy: p, jitter: jitter, items: make(map[uint64]*item), lanes: make(map[string]*lane)}
}

// SetPolicy changes how messages are delivered from here on. Ordered stays as it was.
func (q *Queue) SetPolicy(p Policy) {
	p.Ordered = q.policy.Ordered
	q.policy = p
}

// Len returns how many messages are not done.
func (q *Queue) Len() int { return len(q.items) }

// IDs yields the messages that are not done, in no order.
func (q *Queue) IDs(yield func(uint64) bool) {
	for id := range q.items {
		if !yield(id) {
			return
		}
	}
}

// Ready reports whether Take has something to give.
func (q *Queue) Ready() bool { return q.ready.Len() > 0 }

// Effects returns what others have to do and forgets it.
func (q *Queue) Effects() Effects {
	e := q.effects
	q.effects = Effects{}
	return e
}

// Add puts a message at the end.
func (q *Queue) Add(m Message) {
	it := &item{Message: m, index: -1}
	q.items[m.ID] = it
	q.fifo = append(q.fifo, it)
	if !q.policy.Ordered || m.Key == "" {
		heap.Push(&q.ready, it)
		return
	}
	l := q.lanes[m.Key]
	if l == nil {
		l = &lane{key: m.Key}
		q.lanes[m.Key] = l
	}
	it.lane = l
	l.items = append(l.items, it)
	q.settle(l)
}

// Take leases what may be delivered now, until a time.
func (q *Queue) Take(now, until time.Time, d Demand) []Delivery {
	q.Advance(now)
	var out []Delivery
	size := 0
	fits := func(it *item) bool {
		return len(out) < d.Messages && (len(out) == 0 || d.Bytes == 0 || size+it.Size <= d.Bytes)
	}
	lease := func(it *item) {
		q.leases++
		it.state, it.lease, it.at = leased, q.leases, until
		heap.Push(&q.timed, it)
		size += it.Size
		out = append(out, Delivery{ID: it.ID, Lease: it.lease, Size: it.Size, Attempt: it.Failures + 1})
	}
	for q.ready.Len() > 0 && fits(q.ready[0]) {
		first, _ := heap.Pop(&q.ready).(*item)
		lease(first)
		if first.lane == nil {
			continue
		}
		for _, next := range first.lane.items[1:] {
			if next.state != queued || !fits(next) {
				break
			}
			lease(next)
		}
	}
	return out
}

// Ack ends a lease for good. A lease that is over is good enough while its message has not been given to
// anybody else.
func (q *Queue) Ack(id, lease uint64) {
	it := q.items[id]
	if it == nil || it.lease != lease || it.state == dead {
		return
	}
	if it.lane == nil {
		q.drop(it)
		return
	}
	if it.state != leased {
		return // those after it are to come again with it
	}
	q.end(it)
	it.state = acked
	q.settle(it.lane)
}

// Nack ends a lease: the message comes again.
func (q *Queue) Nack(now time.Time, id, lease uint64) {
	if it := q.held(id, lease); it != nil {
		q.fail(now, it)
	}
}

// Extend moves the end of a lease.
func (q *Queue) Extend(id, lease uint64, until time.Time) {
	if it := q.held(id, lease); it != nil {
		it.at = until
		heap.Fix(&q.timed, it.index)
	}
}

func (q *Queue) held(id, lease uint64) *item {
	if it := q.items[id]; it != nil && it.state == leased && it.lease == lease {
		return it
	}
	return nil
}

// Remove ends a message that was given up.
func (q *Queue) Remove(id uint64) {
	if it := q.items[id]; it != nil && it.state == dead {
		q.drop(it)
	}
}

// Return takes back a message that was given up and that nobody took: it is tried again after a delay.
func (q *Queue) Return(now time.Time, id uint64) {
	if it := q.items[id]; it != nil && it.state == dead {
		q.delay(now, it)
	}
}

// Advance lets time pass: leases end, delays end, what is too old goes.
func (q *Queue) Advance(now time.Time) {
	for q.timed.Len() > 0 && !q.timed[0].at.After(now) {
		it := q.timed[0]
		if it.state == leased {
			q.fail(it.at, it)
			continue
		}
		heap.Pop(&q.timed)
		it.state = queued
		q.offer(it)
	}
	for len(q.fifo) > 0 {
		it := q.fifo[0]
		if it.state != gone {
			if q.policy.Retention == 0 || it.Published.Add(q.policy.Retention).After(now) {
				return
			}
			q.drop(it)
		}
		q.fifo[0] = nil
		q.fifo = q.fifo[1:]
	}
}

// Next returns when Advance has something to do; false if never.
func (q *Queue) Next() (time.Time, bool) {
	var next time.Time
	if q.timed.Len() > 0 {
		next = q.timed[0].at
	}
	if q.policy.Retention > 0 {
		for _, it := range q.fifo {
			if it.state == gone {
				continue
			}
			if end := it.Published.Add(q.policy.Retention); next.IsZero() || end.Before(next) {
				next = end
			}
			break
		}
	}
	return next, !next.IsZero()
}
