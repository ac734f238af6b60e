package broker

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// state is what there is: topics, subscriptions, and how many of them a message waits for. The writer alone
// changes it; the messages of topics in it are replaced, never changed.
type state struct {
	mu     sync.RWMutex
	topics map[string]*pubsubpb.Topic
	subs   map[string]*subscription

	// The writer's own.
	waiting    map[uint64]int // message → subscriptions that it waits for
	lastID     uint64
	lastNumber uint64
}

// loadState reads what the disk holds.
func loadState(d disk, newSubscription func(number uint64, config *pubsubpb.Subscription) (*subscription, error)) (*state, error) {
	s := &state{
		topics: make(map[string]*pubsubpb.Topic), subs: make(map[string]*subscription), waiting: make(map[uint64]int),
	}
	err := d.each(topicsBucket, func(k, v []byte) error {
		topic := new(pubsubpb.Topic)
		s.topics[string(k)] = topic
		return decode(v, topic)
	})
	if err != nil {
		return nil, err
	}
	numbered := make(map[uint64]*subscription)
	err = d.each(subscriptionsBucket, func(k, v []byte) error {
		if len(v) < 8 {
			return fmt.Errorf("%w: %s", errCorrupt, k)
		}
		number, config := binary.BigEndian.Uint64(v), new(pubsubpb.Subscription)
		if err := decode(v[8:], config); err != nil {
			return err
		}
		sub, err := newSubscription(number, config)
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		s.subs[string(k)], numbered[number] = sub, sub
		s.lastNumber = max(s.lastNumber, number)
		return nil
	})
	if err != nil {
		return nil, err
	}
	messages, err := s.loadMessages(d)
	if err != nil {
		return nil, err
	}
	return s, d.each(pendingBucket, func(k, v []byte) error {
		failures, n := binary.Uvarint(v)
		if len(k) != 16 || n <= 0 || failures > 1<<20 {
			return fmt.Errorf("%w: %s %x", errCorrupt, pendingBucket, k)
		}
		sub, m := numbered[binary.BigEndian.Uint64(k)], messages[binary.BigEndian.Uint64(k[8:])]
		if sub == nil || m.ID == 0 {
			return fmt.Errorf("%w: %s %x: of nothing", errCorrupt, pendingBucket, k)
		}
		m.Failures = int(failures)
		s.waiting[m.ID]++
		sub.queue.Add(m)
		return nil
	})
}

// loadMessages reads what queues have to know of the messages.
func (s *state) loadMessages(d disk) (map[uint64]queue.Message, error) {
	messages := make(map[uint64]queue.Message)
	err := d.each(messagesBucket, func(k, v []byte) error {
		if len(k) != 8 {
			return fmt.Errorf("%w: %s %x", errCorrupt, messagesBucket, k)
		}
		_, m, err := decodeMessage(v)
		if err != nil {
			return err
		}
		id := binary.BigEndian.Uint64(k)
		messages[id] = known(id, m)
		s.lastID = max(s.lastID, id)
		return nil
	})
	return messages, err
}

// known is what a queue has to know of a message.
func known(id uint64, m *pubsubpb.PubsubMessage) queue.Message {
	return queue.Message{ID: id, Key: m.GetOrderingKey(), Size: sizeOf(m), Published: m.GetPublishTime().AsTime()}
}

func (s *state) topic(name string) *pubsubpb.Topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.topics[name]
}

func (s *state) subscription(name string) *subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.subs[name]
}

// all returns the subscriptions, ordered by name.
func (s *state) all() []*subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	subs := make([]*subscription, 0, len(s.subs))
	for _, name := range slices.Sorted(maps.Keys(s.subs)) {
		subs = append(subs, s.subs[name])
	}
	return subs
}

// of returns the subscriptions of a topic.
func (s *state) of(topic string) []*subscription {
	var subs []*subscription
	for _, sub := range s.all() {
		if sub.configuration().GetTopic() == topic {
			subs = append(subs, sub)
		}
	}
	return subs
}

// newID gives out the next message's id: the time in microseconds, so that ids differ from those of a file
// that was removed, or one more than the last.
func (s *state) newID(now time.Time) uint64 {
	s.lastID = max(s.lastID+1, uint64(max(now.UnixMicro(), 1))) // #nosec G115 -- not negative
	return s.lastID
}

// encodeMessage puts the topic before the message.
func encodeMessage(topic string, m *pubsubpb.PubsubMessage) ([]byte, error) {
	b := append(binary.AppendUvarint(nil, uint64(len(topic))), topic...)
	return proto.MarshalOptions{}.MarshalAppend(b, m)
}

func decodeMessage(b []byte) (topic string, m *pubsubpb.PubsubMessage, err error) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) { // #nosec G115 -- n bytes were read of b
		return "", nil, errCorrupt
	}
	end := n + int(length) // #nosec G115 -- not above len(b)
	m = new(pubsubpb.PubsubMessage)
	return string(b[n:end]), m, decode(b[end:], m)
}

func decode(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return nil
}

func idKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func pendingKey(number, id uint64) []byte {
	return binary.BigEndian.AppendUint64(idKey(number), id)
}
