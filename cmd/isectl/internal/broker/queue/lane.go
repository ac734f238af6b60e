package queue

import (
	"container/heap"
	"slices"
)

// lane is the messages of one ordering key, in order. Its first one alone is offered, and only while none
// of the lane is leased; those behind it go out in its company. What fails takes with it all that is behind.
// So what is leased or acknowledged is never behind what is queued.
type lane struct {
	key   string
	items []*item
}

func (l *lane) remove(it *item) {
	if i := slices.Index(l.items, it); i >= 0 {
		l.items = slices.Delete(l.items, i, i+1)
	}
}

// settle drops what is acknowledged from the front of a lane and offers its first message if it is its
// turn.
func (q *Queue) settle(l *lane) {
	n := 0
	for n < len(l.items) && l.items[n].state == acked {
		q.forget(l.items[n])
		n++
	}
	l.items = slices.Delete(l.items, 0, n)
	if len(l.items) == 0 {
		delete(q.lanes, l.key)
		return
	}
	if first := l.items[0]; first.state == queued && first.index < 0 {
		heap.Push(&q.ready, first)
	}
}

// rewind lets everything behind a message of a lane come again, acknowledged or not.
func (q *Queue) rewind(failed *item) {
	l := failed.lane
	for _, it := range l.items[slices.Index(l.items, failed)+1:] {
		switch it.state {
		case leased:
			q.end(it)
			it.state = queued
		case acked:
			it.state = queued
		case queued:
			return
		}
	}
}

// readyHeap gives the oldest message first.
type readyHeap []*item

func (h readyHeap) Len() int           { return len(h) }
func (h readyHeap) Less(i, j int) bool { return h[i].ID < h[j].ID }
func (h readyHeap) Swap(i, j int)      { swap(h, i, j) }

// Push appends an item, for package heap.
func (h *readyHeap) Push(x any) { push((*[]*item)(h), x) }

// Pop removes the last item, for package heap.
func (h *readyHeap) Pop() any { return pop((*[]*item)(h)) }

// timedHeap gives what is due first.
type timedHeap []*item

func (h timedHeap) Len() int { return len(h) }
func (h timedHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].ID < h[j].ID
}
func (h timedHeap) Swap(i, j int) { swap(h, i, j) }

// Push appends an item, for package heap.
func (h *timedHeap) Push(x any) { push((*[]*item)(h), x) }

// Pop removes the last item, for package heap.
func (h *timedHeap) Pop() any { return pop((*[]*item)(h)) }

func swap(h []*item, i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func push(h *[]*item, x any) {
	it := x.(*item) //nolint:errcheck // package heap passes on what this package pushes
	it.index = len(*h)
	*h = append(*h, it)
}

func pop(h *[]*item) any {
	last := len(*h) - 1
	it := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	it.index = -1
	return it
}
