package broker

import (
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// The attributes by which a dead letter says where it comes from.
const (
	deadLetterCount        = "CloudPubSubDeadLetterSourceDeliveryCount"
	deadLetterSubscription = "CloudPubSubDeadLetterSourceSubscription"
	deadLetterProject      = "CloudPubSubDeadLetterSourceSubscriptionProject"
	deadLetterPublished    = "CloudPubSubDeadLetterSourceTopicPublishTime"
)

var errNotBuried = errors.New("no dead-letter topic took the message")

// bury publishes a message that was given up to the dead-letter topic. Without that topic the message is
// tried again. It is called with the lock held.
func (s *subscription) bury(id uint64) {
	config := s.config
	s.b.writer.later(func(tx *transaction) error {
		err := s.publishDead(tx, id, config)
		tx.after = append(tx.after, func() {
			s.do(func(q *queue.Queue, now time.Time) {
				if err != nil {
					q.Return(now, id)
					return
				}
				q.Remove(id)
			})
		})
		if err != nil {
			s.b.logger.LogAttrs(s.b.ctx, slog.LevelWarn, "dead letter not published",
				slog.String("subscription", s.name), slog.Uint64("message_id", id), slog.String("error", err.Error()))
		}
		return err
	})
}

func (s *subscription) publishDead(tx *transaction, id uint64, config *pubsubpb.Subscription) error {
	policy := config.GetDeadLetterPolicy()
	if policy == nil {
		return errNotBuried // withdrawn meanwhile
	}
	d, err := s.b.message(id)
	if err != nil {
		return err
	}
	if d.message == nil {
		return nil
	}
	_, err = tx.publish(policy.GetDeadLetterTopic(), []*pubsubpb.PubsubMessage{deadLetter(d.message, config)})
	return err
}

// deadLetter is the message as its dead-letter topic gets it.
func deadLetter(m *pubsubpb.PubsubMessage, config *pubsubpb.Subscription) *pubsubpb.PubsubMessage {
	attributes := maps.Clone(m.GetAttributes())
	if attributes == nil {
		attributes = make(map[string]string)
	}
	attributes[deadLetterCount] = strconv.Itoa(int(config.GetDeadLetterPolicy().GetMaxDeliveryAttempts()))
	attributes[deadLetterSubscription] = idOf(config.GetName())
	attributes[deadLetterProject] = projectOf(config.GetName())
	attributes[deadLetterPublished] = m.GetPublishTime().AsTime().UTC().Format(time.RFC3339Nano)
	return &pubsubpb.PubsubMessage{Data: m.GetData(), Attributes: attributes, OrderingKey: m.GetOrderingKey()}
}
