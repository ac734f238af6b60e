package queue

import (
	"container/heap"
	"time"
)

// fail counts a failed delivery and decides what becomes of the message.
func (q *Queue) fail(now time.Time, it *item) {
	q.end(it)
	it.Failures++
	q.effects.Failed = append(q.effects.Failed, Failure{it.ID, it.Failures})
	if it.lane != nil {
		q.rewind(it)
	}
	if q.policy.MaxAttempts > 0 && it.Failures >= q.policy.MaxAttempts {
		it.state = dead
		q.effects.Dead = append(q.effects.Dead, it.ID)
		return
	}
	q.delay(now, it)
}

// delay queues a message for when it may come again.
func (q *Queue) delay(now time.Time, it *item) {
	if d := q.backoff(it.Failures); d > 0 {
		it.state, it.at = waiting, now.Add(d)
		heap.Push(&q.timed, it)
		return
	}
	it.state = queued
	q.offer(it)
}

// backoff returns the delay after so many failures: twice the one before, within the policy's bounds, and
// up to a fifth more or less.
func (q *Queue) backoff(failures int) time.Duration {
	p := q.policy
	d := p.MinBackoff
	for n := 1; n < failures && d < p.MaxBackoff; n++ {
		d *= 2
	}
	d = min(d, p.MaxBackoff)
	low, high := max(d-d/5, p.MinBackoff), min(d+d/5, p.MaxBackoff)
	if high <= low {
		return high
	}
	return low + time.Duration(q.jitter()*float64(high-low))
}

// end takes a leased message out of its lease.
func (q *Queue) end(it *item) {
	heap.Remove(&q.timed, it.index)
	q.effects.Ended = append(q.effects.Ended, it.lease)
}

// offer makes a queued message ready, if its lane allows it.
func (q *Queue) offer(it *item) {
	if it.lane != nil {
		q.settle(it.lane)
		return
	}
	heap.Push(&q.ready, it)
}

// drop forgets a message.
func (q *Queue) drop(it *item) {
	switch it.state {
	case leased:
		q.end(it)
	case waiting:
		heap.Remove(&q.timed, it.index)
	case queued:
		if it.index >= 0 {
			heap.Remove(&q.ready, it.index)
		}
	}
	q.forget(it)
	if it.lane != nil {
		it.lane.remove(it)
		q.settle(it.lane)
	}
}

// forget marks a message as gone, with nothing but its lane left to be told.
func (q *Queue) forget(it *item) {
	it.state = gone
	delete(q.items, it.ID)
	q.effects.Done = append(q.effects.Done, it.ID)
	if len(q.fifo) > 64 && len(q.fifo) > 4*len(q.items) {
		kept := make([]*item, 0, len(q.items))
		for _, f := range q.fifo {
			if f.state != gone {
				kept = append(kept, f)
			}
		}
		q.fifo = kept
	}
}
