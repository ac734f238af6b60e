package broker

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/filter"
	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// A subscription's settings: what they are where nothing is said, and what they may be.
const (
	defaultAckDeadline = 10 * time.Second
	maxAckDeadline     = 600 * time.Second

	defaultRetention = 7 * 24 * time.Hour
	minRetention     = 10 * time.Minute
	maxRetention     = 31 * 24 * time.Hour

	defaultMinBackoff = 10 * time.Second
	maxBackoff        = 600 * time.Second

	// Without a retry policy a push that failed is repeated after these; a pull gets its message again at
	// once.
	pushMinBackoff = 100 * time.Millisecond
	pushMaxBackoff = 60 * time.Second

	defaultAttempts = 5
	maxAttempts     = 100

	defaultExpiration = 31 * 24 * time.Hour
)

// completed returns a configuration with defaults in place of what is not said, or why it is refused.
func (b *Broker) completed(req *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	if err := checkServed(req); err != nil {
		return nil, err
	}
	c := proto.CloneOf(req)
	c.State = pubsubpb.Subscription_ACTIVE
	if c.PushConfig == nil {
		c.PushConfig = new(pubsubpb.PushConfig)
	}
	if c.GetAckDeadlineSeconds() == 0 {
		c.AckDeadlineSeconds = int32(defaultAckDeadline / time.Second)
	}
	if c.GetMessageRetentionDuration() == nil {
		c.MessageRetentionDuration = durationpb.New(defaultRetention)
	}
	if c.GetExpirationPolicy() == nil {
		c.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(defaultExpiration)}
	}
	if r := c.GetRetryPolicy(); r != nil {
		if r.GetMinimumBackoff() == nil {
			r.MinimumBackoff = durationpb.New(defaultMinBackoff)
		}
		if r.GetMaximumBackoff() == nil {
			r.MaximumBackoff = durationpb.New(maxBackoff)
		}
	}
	if d := c.GetDeadLetterPolicy(); d != nil && d.GetMaxDeliveryAttempts() == 0 {
		d.MaxDeliveryAttempts = defaultAttempts
	}
	return c, b.checkSettings(c)
}

// checkServed refuses what this broker does not do, rather than to keep silent about it.
func checkServed(c *pubsubpb.Subscription) error {
	switch {
	case c.GetBigqueryConfig() != nil, c.GetCloudStorageConfig() != nil, c.GetBigtableConfig() != nil:
		return unimplemented("export subscriptions")
	case c.GetEnableExactlyOnceDelivery():
		return unimplemented("enable_exactly_once_delivery")
	case c.GetRetainAckedMessages():
		return unimplemented("retain_acked_messages")
	case len(c.GetMessageTransforms()) > 0:
		return unimplemented("message_transforms")
	case c.GetDetached():
		return unimplemented("detached")
	case c.GetPushConfig().GetNoWrapper() != nil:
		return unimplemented("no_wrapper")
	}
	return nil
}

func (b *Broker) checkSettings(c *pubsubpb.Subscription) error {
	if d := time.Duration(c.GetAckDeadlineSeconds()) * time.Second; d < defaultAckDeadline || d > maxAckDeadline {
		return invalid("Invalid ack deadline given (ack_deadline_secs=%d); it must be from 10 to 600.", c.GetAckDeadlineSeconds())
	}
	if err := within("message_retention_duration", c.GetMessageRetentionDuration(), minRetention, maxRetention); err != nil {
		return err
	}
	if r := c.GetRetryPolicy(); r != nil {
		err := errors.Join(within("minimum_backoff", r.GetMinimumBackoff(), 0, maxBackoff),
			within("maximum_backoff", r.GetMaximumBackoff(), 0, maxBackoff))
		if err != nil {
			return invalid("%v", err)
		}
		if r.GetMinimumBackoff().AsDuration() > r.GetMaximumBackoff().AsDuration() {
			return invalid("minimum_backoff is longer than maximum_backoff.")
		}
	}
	if d := c.GetDeadLetterPolicy(); d != nil {
		if n := d.GetMaxDeliveryAttempts(); n < defaultAttempts || n > maxAttempts {
			return invalid("max_delivery_attempts is %d; it must be from %d to %d.", n, defaultAttempts, maxAttempts)
		}
		if err := checkTopic(d.GetDeadLetterTopic()); err != nil {
			return err
		}
	}
	if _, err := filter.Parse(c.GetFilter()); err != nil {
		return invalid("Invalid filter: %v", err)
	}
	return b.checkPush(c.GetPushConfig())
}

func (b *Broker) checkPush(c *pubsubpb.PushConfig) error {
	if c.GetPushEndpoint() == "" {
		return nil
	}
	u, err := url.Parse(c.GetPushEndpoint())
	switch {
	case err != nil:
		return invalid("Invalid push endpoint given (endpoint=%.300s).", c.GetPushEndpoint())
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.Fragment != "":
		return invalid("Invalid push endpoint given (endpoint=%.300s).", u.Redacted())
	}
	if err := b.opts.Endpoint(u); err != nil {
		return invalid("Invalid push endpoint given (endpoint=%.300s): %v", u.Redacted(), err)
	}
	return nil
}

func within(field string, d *durationpb.Duration, least, most time.Duration) error {
	if err := d.CheckValid(); err != nil {
		return invalid("%s: %v", field, err)
	}
	if v := d.AsDuration(); v < least || v > most {
		return invalid("%s is %s; it must be from %s to %s.", field, v, least, most)
	}
	return nil
}

// policyOf is what a configuration means for the queue.
func policyOf(c *pubsubpb.Subscription) queue.Policy {
	p := queue.Policy{
		Ordered:     c.GetEnableMessageOrdering(),
		MaxAttempts: int(c.GetDeadLetterPolicy().GetMaxDeliveryAttempts()),
		Retention:   c.GetMessageRetentionDuration().AsDuration(),
	}
	switch r := c.GetRetryPolicy(); {
	case r != nil:
		p.MinBackoff, p.MaxBackoff = r.GetMinimumBackoff().AsDuration(), r.GetMaximumBackoff().AsDuration()
	case c.GetPushConfig().GetPushEndpoint() != "":
		p.MinBackoff, p.MaxBackoff = pushMinBackoff, pushMaxBackoff
	}
	return p
}

// updated returns a configuration in which the fields that the mask names are those of another one.
func updated(c, from *pubsubpb.Subscription, paths []string) (*pubsubpb.Subscription, error) {
	c = proto.CloneOf(c)
	for _, path := range paths {
		switch path {
		case "push_config":
			c.PushConfig = from.GetPushConfig()
		case "ack_deadline_seconds":
			c.AckDeadlineSeconds = from.GetAckDeadlineSeconds()
		case "message_retention_duration":
			c.MessageRetentionDuration = from.GetMessageRetentionDuration()
		case "labels":
			c.Labels = from.GetLabels()
		case "expiration_policy":
			c.ExpirationPolicy = from.GetExpirationPolicy()
		case "dead_letter_policy":
			c.DeadLetterPolicy = from.GetDeadLetterPolicy()
		case "dead_letter_policy.max_delivery_attempts":
			if c.DeadLetterPolicy == nil {
				return nil, invalid("There is no dead_letter_policy to change.")
			}
			c.DeadLetterPolicy.MaxDeliveryAttempts = from.GetDeadLetterPolicy().GetMaxDeliveryAttempts()
		case "retry_policy":
			c.RetryPolicy = from.GetRetryPolicy()
		case "enable_exactly_once_delivery":
			c.EnableExactlyOnceDelivery = from.GetEnableExactlyOnceDelivery()
		case "retain_acked_messages":
			c.RetainAckedMessages = from.GetRetainAckedMessages()
		default:
			return nil, invalid("Invalid update_mask provided in the UpdateSubscriptionRequest: the field %q cannot be changed.", path)
		}
	}
	return c, nil
}

// loopbackURL refuses what is not on this machine.
func loopbackURL(u *url.URL) error {
	if !isLoopback(u.Hostname()) {
		return fmt.Errorf("%s is not this machine", u.Hostname())
	}
	return nil
}
