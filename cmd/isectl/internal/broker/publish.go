package broker

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// Pub/Sub's limits: https://cloud.google.com/pubsub/quotas#resource_limits.
const (
	maxPublishBytes    = 10_000_000
	maxPublishMessages = 1000
	maxAttributes      = 100
	maxAttributeKey    = 256
	maxAttributeValue  = 1024
	maxOrderingKey     = 1024
)

// Publish accepts messages. Once it has answered they are delivered to every subscription of the topic
// that chooses them.
func (b *Broker) Publish(ctx context.Context, req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	if err := checkTopic(req.GetTopic()); err != nil {
		return nil, err
	}
	size, err := checkMessages(req.GetMessages())
	if err != nil {
		return nil, err
	}
	var ids []string
	err = b.writer.wait(ctx, &op{size: size, do: func(tx *transaction) (err error) {
		ids, err = tx.publish(req.GetTopic(), req.GetMessages())
		return err
	}})
	if err != nil {
		return nil, err
	}
	return &pubsubpb.PublishResponse{MessageIds: ids}, nil
}

func checkMessages(messages []*pubsubpb.PubsubMessage) (size int, err error) {
	if len(messages) == 0 || len(messages) > maxPublishMessages {
		return 0, invalid("The value for message_count is %d; it must be from 1 to %d.", len(messages), maxPublishMessages)
	}
	for _, m := range messages {
		if err := checkMessage(m); err != nil {
			return 0, err
		}
		size += sizeOf(m)
	}
	if size > maxPublishBytes {
		return 0, invalid("The request has %d bytes; at most %d are allowed.", size, maxPublishBytes)
	}
	return size, nil
}

func checkMessage(m *pubsubpb.PubsubMessage) error {
	if len(m.GetData()) == 0 && len(m.GetAttributes()) == 0 {
		return invalid("One or more messages in the publish request is empty. Each message must contain either non-empty data, or at least one attribute.")
	}
	if len(m.GetAttributes()) > maxAttributes {
		return invalid("The message has %d attributes; at most %d are allowed.", len(m.GetAttributes()), maxAttributes)
	}
	for k, v := range m.GetAttributes() {
		switch {
		case k == "" || len(k) > maxAttributeKey || !utf8.ValidString(k):
			return invalid("An attribute's key has %d bytes; 1 to %d are allowed, of UTF-8.", len(k), maxAttributeKey)
		case strings.HasPrefix(k, "goog") && !strings.HasPrefix(k, "googclient_"):
			return invalid("The attribute key %q begins with goog, which is reserved.", k)
		case len(v) > maxAttributeValue || !utf8.ValidString(v):
			return invalid("The value of attribute %q has %d bytes; at most %d are allowed, of UTF-8.", k, len(v), maxAttributeValue)
		}
	}
	if key := m.GetOrderingKey(); len(key) > maxOrderingKey || !utf8.ValidString(key) {
		return invalid("The ordering key has %d bytes; at most %d are allowed, of UTF-8.", len(key), maxOrderingKey)
	}
	return nil
}

// sizeOf is what a message counts for in limits and flow control.
func sizeOf(m *pubsubpb.PubsubMessage) int {
	size := len(m.GetData()) + len(m.GetOrderingKey())
	for k, v := range m.GetAttributes() {
		size += len(k) + len(v)
	}
	return size
}

// publish keeps messages for the subscriptions that choose them.
func (tx *transaction) publish(topic string, messages []*pubsubpb.PubsubMessage) ([]string, error) {
	if tx.topic(topic) == nil {
		return nil, notFound(topic)
	}
	subs := tx.of(topic)
	ids := make([]string, len(messages))
	encoded := make([][]byte, len(messages))
	kept := make([]queue.Message, len(messages))
	for i, m := range messages {
		id := tx.newID(tx.now)
		ids[i] = strconv.FormatUint(id, 10)
		m = &pubsubpb.PubsubMessage{
			Data: m.GetData(), Attributes: m.GetAttributes(), OrderingKey: m.GetOrderingKey(),
			MessageId: ids[i], PublishTime: timestamppb.New(tx.now),
		}
		var err error
		if encoded[i], err = encodeMessage(topic, m); err != nil {
			return nil, invalid("The message cannot be encoded: %v", err)
		}
		kept[i] = known(id, m)
	}
	for i, m := range messages {
		m, attributes, encoded := kept[i], m.GetAttributes(), encoded[i]
		for _, s := range subs {
			if !s.filter.Match(attributes) {
				continue
			}
			tx.put(pendingBucket, pendingKey(s.number, m.ID), binary.AppendUvarint(nil, 0))
			if tx.waiting[m.ID]++; tx.waiting[m.ID] == 1 {
				tx.put(messagesBucket, idKey(m.ID), encoded)
			}
			tx.after = append(tx.after, func() { s.add(m) })
		}
	}
	return ids, nil
}

// release forgets that messages wait for a subscription, and those that wait for none.
func (tx *transaction) release(number uint64, ids []uint64) {
	for _, id := range ids {
		tx.put(pendingBucket, pendingKey(number, id), nil)
		if tx.waiting[id]--; tx.waiting[id] <= 0 {
			delete(tx.waiting, id)
			tx.put(messagesBucket, idKey(id), nil)
		}
	}
}
