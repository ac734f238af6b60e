package queue_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// lifecycle is a queue under random use, with what must be true of it whatever happens.
type lifecycle struct {
	q      *queue.Queue
	policy queue.Policy
	now    time.Time
	last   uint64

	keys     map[uint64]string
	open     map[uint64]bool           // added and not done
	out      map[uint64]queue.Delivery // leased, by message
	past     []queue.Delivery          // all that were ever leased
	failures map[uint64]int
	dead     map[uint64]bool
	highest  map[string]uint64 // the last one done of each key
}

// check takes the effects of what was just done.
func (l *lifecycle) check(t *rapid.T) {
	effects := l.q.Effects()
	for _, lease := range effects.Ended {
		for id, d := range l.out {
			if d.Lease == lease {
				delete(l.out, id)
			}
		}
	}
	for _, f := range effects.Failed {
		if l.failures[f.ID]++; l.failures[f.ID] != f.Failures {
			t.Fatalf("message %d failed %d times; said to be %d", f.ID, l.failures[f.ID], f.Failures)
		}
	}
	for _, id := range effects.Dead {
		if l.policy.MaxAttempts == 0 || l.failures[id] < l.policy.MaxAttempts || l.dead[id] {
			t.Fatalf("message %d is given up after %d failures", id, l.failures[id])
		}
		l.dead[id] = true
	}
	for _, id := range effects.Done {
		if !l.open[id] {
			t.Fatalf("message %d is done twice", id)
		}
		if key := l.keys[id]; l.policy.Ordered && key != "" && l.policy.MaxAttempts == 0 {
			if id < l.highest[key] {
				t.Fatalf("message %d of key %s is done after %d", id, key, l.highest[key])
			}
			l.highest[key] = id
		}
		delete(l.open, id)
		delete(l.out, id)
		delete(l.dead, id)
	}
	if l.q.Len() != len(l.open) {
		t.Fatalf("%d messages; want %d", l.q.Len(), len(l.open))
	}
}

func (l *lifecycle) add(key string) {
	l.last++
	l.keys[l.last], l.open[l.last] = key, true
	l.q.Add(queue.Message{ID: l.last, Key: key, Size: 1, Published: l.now})
}

func (l *lifecycle) take(t *rapid.T, d queue.Demand) {
	before := maps.Clone(l.out)
	taken := l.q.Take(l.now, l.now.Add(deadline), d)
	l.check(t)
	for id := range before {
		if _, still := l.out[id]; !still {
			delete(before, id)
		}
	}
	var batch []uint64
	for _, d := range taken {
		if _, out := before[d.ID]; out || !l.open[d.ID] || l.dead[d.ID] {
			t.Fatalf("message %d is given to two, after its end, or dead", d.ID)
		}
		if d.Attempt != l.failures[d.ID]+1 {
			t.Fatalf("message %d: attempt %d after %d failures", d.ID, d.Attempt, l.failures[d.ID])
		}
		l.out[d.ID] = d
		l.past = append(l.past, d)
		batch = append(batch, d.ID)
	}
	if len(taken) > d.Messages {
		t.Fatalf("%d messages; want at most %d", len(taken), d.Messages)
	}
	if !l.policy.Ordered {
		return
	}
	for i, id := range batch {
		key := l.keys[id]
		if key == "" {
			continue
		}
		for other := range l.open {
			if l.keys[other] == key && other < id && !slices.Contains(batch[:i], other) {
				t.Fatalf("message %d of key %s goes before %d", id, key, other)
			}
		}
	}
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy := queue.Policy{Ordered: rapid.Bool().Draw(t, "ordered")}
		if rapid.Bool().Draw(t, "backoff") {
			policy.MinBackoff, policy.MaxBackoff = time.Second, 8*time.Second
		}
		if rapid.Bool().Draw(t, "gives up") {
			policy.MaxAttempts = 3
		}
		l := &lifecycle{
			q: queue.New(policy, middle), policy: policy, now: start,
			keys: map[uint64]string{}, open: map[uint64]bool{}, out: map[uint64]queue.Delivery{},
			failures: map[uint64]int{}, dead: map[uint64]bool{}, highest: map[string]uint64{},
		}
		pick := func(t *rapid.T, from map[uint64]queue.Delivery) queue.Delivery {
			if len(from) == 0 {
				t.Skip("nothing is out")
			}
			return from[rapid.SampledFrom(slices.Sorted(maps.Keys(from))).Draw(t, "id")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"": l.check,
			"add": func(t *rapid.T) {
				l.add(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key"))
			},
			"take": func(t *rapid.T) {
				l.take(t, queue.Demand{Messages: rapid.IntRange(0, 4).Draw(t, "messages")})
			},
			"ack":    func(t *rapid.T) { d := pick(t, l.out); l.q.Ack(d.ID, d.Lease) },
			"nack":   func(t *rapid.T) { d := pick(t, l.out); l.q.Nack(l.now, d.ID, d.Lease) },
			"extend": func(t *rapid.T) { d := pick(t, l.out); l.q.Extend(d.ID, d.Lease, l.now.Add(deadline)) },
			"late": func(t *rapid.T) {
				if len(l.past) == 0 {
					t.Skip("nothing was ever out")
				}
				d := rapid.SampledFrom(l.past).Draw(t, "delivery")
				switch rapid.IntRange(0, 2).Draw(t, "answer") {
				case 0:
					l.q.Ack(d.ID, d.Lease)
				case 1:
					l.q.Nack(l.now, d.ID, d.Lease)
				default:
					l.q.Extend(d.ID, d.Lease, l.now.Add(deadline))
				}
			},
			"wrong lease": func(t *rapid.T) {
				d := pick(t, l.out)
				l.q.Ack(d.ID, d.Lease+1000)
				l.q.Nack(l.now, d.ID, d.Lease+1000)
			},
			"bury": func(t *rapid.T) {
				if len(l.dead) == 0 {
					t.Skip("none is dead")
				}
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(l.dead))).Draw(t, "id")
				if rapid.Bool().Draw(t, "taken") {
					l.q.Remove(id)
					return
				}
				delete(l.dead, id)
				l.q.Return(l.now, id)
			},
			"time": func(t *rapid.T) {
				l.now = l.now.Add(time.Duration(rapid.IntRange(1, 15).Draw(t, "seconds")) * time.Second)
				l.q.Advance(l.now)
			},
		})
		l.drain(t)
	})
}

// drain acknowledges everything that comes until nothing is left.
func (l *lifecycle) drain(t *rapid.T) {
	for round := 0; l.q.Len() > 0; round++ {
		if round > 1000 {
			t.Fatalf("%d messages never come: %v", l.q.Len(), fmt.Sprint(slices.Sorted(maps.Keys(l.open))))
		}
		for id := range maps.Clone(l.dead) {
			l.q.Remove(id)
		}
		l.check(t)
		l.take(t, queue.Demand{Messages: 10})
		for _, id := range slices.Sorted(maps.Keys(l.out)) {
			l.q.Ack(id, l.out[id].Lease)
		}
		l.check(t)
		if next, ok := l.q.Next(); ok && next.After(l.now) {
			l.now = next
		}
	}
	if l.q.Ready() {
		t.Fatal("an empty queue is ready")
	}
}
