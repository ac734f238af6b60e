package broker

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/filter"
	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// subscription is a queue with whoever takes from it.
type subscription struct {
	b      *Broker
	name   string
	number uint64 // unlike that of a subscription that had this name before
	filter filter.Filter

	mu      sync.Mutex
	config  *pubsubpb.Subscription // replaced, never changed
	queue   *queue.Queue
	flows   map[uint64]share // by lease
	waiters int
	wake    chan struct{} // closed and replaced when it may be worth looking again
	gone    bool
	unpush  context.CancelFunc // nil: nothing is pushed
}

// flow is what one stream has been given and not answered.
type flow struct{ messages, bytes int }

// share is what one lease has of a flow.
type share struct {
	flow  *flow
	bytes int
}

// delivery is a message on its way.
type delivery struct {
	queue.Delivery
	topic   string
	message *pubsubpb.PubsubMessage
}

func (b *Broker) newSubscription(number uint64, config *pubsubpb.Subscription) (*subscription, error) {
	chosen, err := filter.Parse(config.GetFilter())
	if err != nil {
		return nil, err
	}
	return &subscription{
		b: b, name: config.GetName(), number: number, filter: chosen, config: config,
		queue: queue.New(policyOf(config), rand.Float64), // #nosec G404 -- jitter, not a secret
		flows: make(map[uint64]share), wake: make(chan struct{}),
	}, nil
}

func (s *subscription) configuration() *pubsubpb.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}

// do lets fn use the queue and then does what follows from that.
func (s *subscription) do(fn func(q *queue.Queue, now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.queue, s.b.now())
	s.settle()
	s.wakeUp()
}

// settle does what follows from what happened to the queue. It is called with the lock held, so that the
// disk learns of a message's fate in the order in which it happened.
func (s *subscription) settle() {
	effects := s.queue.Effects()
	for _, lease := range effects.Ended {
		if share, ok := s.flows[lease]; ok {
			delete(s.flows, lease)
			share.flow.messages--
			share.flow.bytes -= share.bytes
		}
	}
	if len(effects.Ended) > 0 {
		s.wakeUp()
	}
	if s.gone {
		return // nothing is kept any more of what waited
	}
	if failed := effects.Failed; len(failed) > 0 {
		s.b.writer.later(func(tx *transaction) error {
			for _, f := range failed {
				if !s.isGone() {
					tx.put(pendingBucket, pendingKey(s.number, f.ID), binary.AppendUvarint(nil, uint64(f.Failures))) // #nosec G115 -- not negative
				}
			}
			return nil
		})
	}
	if done := effects.Done; len(done) > 0 {
		s.b.writer.later(func(tx *transaction) error {
			tx.release(s.number, done)
			return nil
		})
	}
	for _, id := range effects.Dead {
		s.bury(id)
	}
}

func (s *subscription) wakeUp() {
	if s.waiters > 0 {
		close(s.wake)
		s.wake = make(chan struct{})
	}
}

func (s *subscription) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// add queues a message that is durable.
func (s *subscription) add(m queue.Message) {
	s.do(func(q *queue.Queue, _ time.Time) { q.Add(m) })
}

// advance lets time pass.
func (s *subscription) advance() {
	s.do(func(q *queue.Queue, now time.Time) { q.Advance(now) })
}

func (s *subscription) ack(id, lease uint64) {
	s.do(func(q *queue.Queue, _ time.Time) { q.Ack(id, lease) })
}

func (s *subscription) nack(id, lease uint64) {
	s.do(func(q *queue.Queue, now time.Time) { q.Nack(now, id, lease) })
}

func (s *subscription) extend(id, lease uint64, by time.Duration) {
	s.do(func(q *queue.Queue, now time.Time) { q.Extend(id, lease, now.Add(by)) })
}

// demand says what a receiver can take now and for how long it wants it.
type demand struct {
	queue.Demand
	lease time.Duration
	flow  *flow // counts what is out; nil: nobody does
}

// receive waits for messages. It returns none when ctx ends.
func (s *subscription) receive(ctx context.Context, want func() demand) ([]delivery, error) {
	for {
		s.mu.Lock()
		if s.gone {
			s.mu.Unlock()
			return nil, notFound(s.name)
		}
		now := s.b.now()
		d := want()
		taken := s.queue.Take(now, now.Add(d.lease), d.Demand)
		for _, t := range taken {
			if d.flow != nil {
				s.flows[t.Lease] = share{d.flow, t.Size}
				d.flow.messages++
				d.flow.bytes += t.Size
			}
		}
		s.settle()
		next, timed := s.queue.Next()
		wake := s.wake
		s.waiters++
		s.mu.Unlock()
		var out []delivery
		if len(taken) > 0 {
			out = s.load(ctx, taken)
		}
		if len(out) == 0 && len(taken) == 0 {
			pause(ctx, wake, timed, next.Sub(now))
		}
		s.mu.Lock()
		s.waiters--
		s.mu.Unlock()
		if len(out) > 0 || ctx.Err() != nil {
			return out, nil //nolint:nilerr // that nobody waits any more is no failure
		}
	}
}

// pause waits for a signal, for a time, or for the end of ctx.
func pause(ctx context.Context, wake <-chan struct{}, timed bool, d time.Duration) {
	var due <-chan time.Time
	if timed {
		timer := time.NewTimer(max(d, 0))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-wake:
	case <-due:
	case <-ctx.Done():
	}
}

// load reads the messages that were taken. One that is no more was dropped meanwhile; one that cannot be
// read is left to its lease.
func (s *subscription) load(ctx context.Context, taken []queue.Delivery) []delivery {
	out := make([]delivery, 0, len(taken))
	for _, t := range taken {
		d, err := s.b.message(t.ID)
		if err != nil {
			s.b.logger.LogAttrs(ctx, slog.LevelError, "message cannot be read",
				slog.String("subscription", s.name), slog.Uint64("message_id", t.ID), slog.String("error", err.Error()))
			continue
		}
		if d.message == nil {
			s.ack(t.ID, t.Lease)
			continue
		}
		d.Delivery = t
		out = append(out, d)
	}
	return out
}

func (b *Broker) message(id uint64) (delivery, error) {
	value, err := b.writer.disk.get(messagesBucket, idKey(id))
	if err != nil || value == nil {
		return delivery{}, err
	}
	topic, m, err := decodeMessage(value)
	return delivery{topic: topic, message: m}, err
}

// remove ends a subscription that is no more, and returns what was waiting for it.
func (s *subscription) remove() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	var ids []uint64
	for id := range s.queue.IDs {
		ids = append(ids, id)
	}
	s.wakeUp()
	return ids
}

// reconfigure puts a configuration in force.
func (s *subscription) reconfigure(config *pubsubpb.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = config
	s.queue.SetPolicy(policyOf(config))
	s.wakeUp()
}
