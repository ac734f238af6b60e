package queue_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

var start = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

const deadline = 10 * time.Second

func middle() float64 { return 0.5 }

func add(q *queue.Queue, key string, ids ...uint64) {
	for _, id := range ids {
		q.Add(queue.Message{ID: id, Key: key, Size: 100, Published: start})
	}
}

// take leases what there is and returns it by message.
func take(q *queue.Queue, now time.Time, d queue.Demand) (ids []uint64, leases map[uint64]queue.Delivery) {
	leases = make(map[uint64]queue.Delivery)
	for _, d := range q.Take(now, now.Add(deadline), d) {
		ids = append(ids, d.ID)
		leases[d.ID] = d
	}
	return ids, leases
}

func wantIDs(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v; want %v", what, got, want)
	}
}

func TestTakeIsBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		demand queue.Demand
		want   []uint64
	}{
		"messages":               {queue.Demand{Messages: 2}, []uint64{1, 2}},
		"bytes":                  {queue.Demand{Messages: 9, Bytes: 250}, []uint64{1, 2}},
		"one, however big it is": {queue.Demand{Messages: 9, Bytes: 1}, []uint64{1}},
		"nothing wanted":         {queue.Demand{}, nil},
		"all":                    {queue.Demand{Messages: 9}, []uint64{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := queue.New(queue.Policy{}, middle)
			add(q, "", 1, 2, 3)
			got, _ := take(q, start, tt.demand)
			wantIDs(t, "taken", got, tt.want...)
		})
	}
}

func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	q := queue.New(queue.Policy{}, middle)
	add(q, "", 1, 2)
	_, first := take(q, start, queue.Demand{Messages: 2})
	q.Extend(2, first[2].Lease, start.Add(time.Minute))
	if next, ok := q.Next(); !ok || !next.Equal(start.Add(deadline)) {
		t.Errorf("next at %v, %v", next, ok)
	}
	got, again := take(q, start.Add(deadline), queue.Demand{Messages: 2})
	wantIDs(t, "after the deadline", got, 1)
	if again[1].Attempt != 2 {
		t.Errorf("attempt %d; want 2", again[1].Attempt)
	}
	q.Ack(1, first[1].Lease) // too late: somebody else has it
	q.Ack(2, first[2].Lease)
	wantIDs(t, "done", q.Effects().Done, 2)
	q.Ack(1, again[1].Lease)
	effects := q.Effects()
	wantIDs(t, "done", effects.Done, 1)
	if q.Len() != 0 {
		t.Errorf("%d messages left", q.Len())
	}
	if _, ok := q.Next(); ok {
		t.Error("an empty queue waits for something")
	}
}

func TestLateAckCountsUntilRedelivery(t *testing.T) {
	t.Parallel()
	q := queue.New(queue.Policy{MinBackoff: time.Second, MaxBackoff: time.Minute}, middle)
	add(q, "", 1)
	_, first := take(q, start, queue.Demand{Messages: 1})
	q.Advance(start.Add(deadline))
	q.Ack(1, first[1].Lease)
	wantIDs(t, "done", q.Effects().Done, 1)
	got, _ := take(q, start.Add(time.Hour), queue.Demand{Messages: 1})
	wantIDs(t, "taken", got)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policy queue.Policy
		jitter float64
		want   []time.Duration
	}{
		"none": {queue.Policy{}, 0.5, []time.Duration{0, 0, 0}},
		"doubles up to the most": {
			queue.Policy{MinBackoff: time.Second, MaxBackoff: 10 * time.Second}, 0.5,
			// The first lies between 1 s and 1.2 s, the last between 8 s and 10 s.
			[]time.Duration{1100 * time.Millisecond, 2 * time.Second, 4 * time.Second, 8 * time.Second, 9 * time.Second, 9 * time.Second},
		},
		"not below the least": {
			queue.Policy{MinBackoff: time.Second, MaxBackoff: 10 * time.Second}, 0,
			[]time.Duration{time.Second, 1600 * time.Millisecond, 3200 * time.Millisecond},
		},
		"least is most": {queue.Policy{MinBackoff: time.Second, MaxBackoff: time.Second}, 0.9, []time.Duration{time.Second, time.Second}},
		"from nothing":  {queue.Policy{MaxBackoff: time.Second}, 0.5, []time.Duration{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := queue.New(tt.policy, func() float64 { return tt.jitter })
			add(q, "", 1)
			now := start
			var got []time.Duration
			for range tt.want {
				_, leases := take(q, now, queue.Demand{Messages: 1})
				q.Nack(now, 1, leases[1].Lease)
				var wait time.Duration
				if !q.Ready() {
					next, ok := q.Next()
					if !ok {
						t.Fatal("never again")
					}
					wait = next.Sub(now)
				}
				got = append(got, wait)
				now = now.Add(wait)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("delays (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	q := queue.New(queue.Policy{MaxAttempts: 3, MinBackoff: time.Second, MaxBackoff: time.Second}, middle)
	q.Add(queue.Message{ID: 1, Published: start, Failures: 1})
	now := start
	for range 2 {
		_, leases := take(q, now, queue.Demand{Messages: 1})
		q.Nack(now, 1, leases[1].Lease)
		now = now.Add(time.Second)
	}
	effects := q.Effects()
	wantIDs(t, "dead", effects.Dead, 1)
	if diff := cmp.Diff([]queue.Failure{{1, 2}, {1, 3}}, effects.Failed); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	got, _ := take(q, now, queue.Demand{Messages: 1})
	wantIDs(t, "a dead message", got)
	q.Return(now, 1) // nobody took it
	now = now.Add(time.Second)
	_, leases := take(q, now, queue.Demand{Messages: 1})
	if leases[1].Attempt != 4 {
		t.Errorf("attempt %d; want 4", leases[1].Attempt)
	}
	q.Nack(now, 1, leases[1].Lease)
	q.Remove(1)
	effects = q.Effects()
	wantIDs(t, "dead", effects.Dead, 1)
	wantIDs(t, "done", effects.Done, 1)
}

func TestRetention(t *testing.T) {
	t.Parallel()
	q := queue.New(queue.Policy{Ordered: true, Retention: time.Hour}, middle)
	add(q, "", 1)
	add(q, "k", 2, 3)
	q.Add(queue.Message{ID: 4, Key: "k", Published: start.Add(time.Minute)})
	got, _ := take(q, start.Add(59*time.Minute+55*time.Second), queue.Demand{Messages: 2})
	wantIDs(t, "taken", got, 1, 2)
	if next, _ := q.Next(); !next.Equal(start.Add(time.Hour)) {
		t.Errorf("next at %v", next)
	}
	q.Advance(start.Add(time.Hour))
	wantIDs(t, "done", q.Effects().Done, 1, 2, 3)
	got, _ = take(q, start.Add(time.Hour), queue.Demand{Messages: 9})
	wantIDs(t, "what is left", got, 4)
}

func TestOrder(t *testing.T) {
	t.Parallel()
	policy := queue.Policy{Ordered: true, MinBackoff: time.Second, MaxBackoff: time.Second}
	t.Run("a key waits for what was taken of it", func(t *testing.T) {
		t.Parallel()
		q := queue.New(policy, middle)
		add(q, "a", 1, 2, 3)
		add(q, "b", 4, 5)
		add(q, "", 6, 7)
		var got []uint64
		first := map[uint64]queue.Delivery{}
		for range 9 {
			ids, leases := take(q, start, queue.Demand{Messages: 1})
			got = append(got, ids...)
			maps.Copy(first, leases)
		}
		wantIDs(t, "one by one", got, 1, 4, 6, 7)
		q.Ack(4, first[4].Lease)
		got, _ = take(q, start, queue.Demand{Messages: 9})
		wantIDs(t, "after an answer", got, 5)
	})
	t.Run("an answer that comes late counts for nothing", func(t *testing.T) {
		t.Parallel()
		q := queue.New(policy, middle)
		add(q, "a", 1, 2)
		_, first := take(q, start, queue.Demand{Messages: 2})
		q.Advance(start.Add(deadline))
		q.Ack(1, first[1].Lease)
		q.Ack(2, first[2].Lease)
		got, _ := take(q, start.Add(deadline+2*time.Second), queue.Demand{Messages: 9})
		wantIDs(t, "again", got, 1, 2)
	})
	t.Run("a failure brings back what follows", func(t *testing.T) {
		t.Parallel()
		q := queue.New(policy, middle)
		add(q, "a", 1, 2, 3, 4)
		got, first := take(q, start, queue.Demand{Messages: 3})
		wantIDs(t, "first", got, 1, 2, 3)
		q.Ack(3, first[3].Lease)
		q.Nack(start, 2, first[2].Lease)
		got, _ = take(q, start.Add(2*time.Second), queue.Demand{Messages: 9})
		wantIDs(t, "while 1 is out", got)
		q.Ack(1, first[1].Lease)
		got, again := take(q, start.Add(2*time.Second), queue.Demand{Messages: 9})
		wantIDs(t, "after it", got, 2, 3, 4)
		if again[2].Attempt != 2 || again[3].Attempt != 1 {
			t.Errorf("attempts %d and %d; want 2 and 1", again[2].Attempt, again[3].Attempt)
		}
		for _, id := range got {
			q.Ack(id, again[id].Lease)
		}
		wantIDs(t, "done", q.Effects().Done, 1, 2, 3, 4)
	})
	t.Run("the dead go on their own", func(t *testing.T) {
		t.Parallel()
		p := policy
		p.MaxAttempts = 1
		q := queue.New(p, middle)
		add(q, "a", 1, 2)
		_, first := take(q, start, queue.Demand{Messages: 1})
		q.Nack(start, 1, first[1].Lease)
		got, _ := take(q, start, queue.Demand{Messages: 9})
		wantIDs(t, "before 1 is buried", got)
		q.Remove(1)
		got, _ = take(q, start, queue.Demand{Messages: 9})
		wantIDs(t, "then", got, 2)
	})
}

func TestSetPolicy(t *testing.T) {
	t.Parallel()
	q := queue.New(queue.Policy{Ordered: true}, middle)
	q.SetPolicy(queue.Policy{MaxAttempts: 1})
	add(q, "a", 1, 2)
	got, first := take(q, start, queue.Demand{Messages: 1})
	wantIDs(t, "order", got, 1)
	got, _ = take(q, start, queue.Demand{Messages: 1})
	wantIDs(t, "order stays", got)
	q.Nack(start, 1, first[1].Lease)
	wantIDs(t, "dead", q.Effects().Dead, 1)
}
