package broker

import (
	"context"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// CreateSubscription makes a subscription, which gets what is published from then on.
func (b *Broker) CreateSubscription(ctx context.Context, req *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	name := req.GetName()
	if err := checkSubscription(name); err != nil {
		return nil, err
	}
	if err := checkTopic(req.GetTopic()); err != nil {
		return nil, err
	}
	config, err := b.completed(req)
	if err != nil {
		return nil, err
	}
	err = b.writer.wait(ctx, &op{alone: true, do: func(tx *transaction) error { //nolint:contextcheck // pushing outlives the call
		if tx.subscription(name) != nil {
			return exists(name)
		}
		if err := tx.checkTopics(config); err != nil {
			return err
		}
		s, err := b.newSubscription(tx.lastNumber+1, config)
		if err != nil {
			return invalid("%v", err)
		}
		if err := tx.putSubscription(s, config); err != nil {
			return err
		}
		tx.lastNumber++
		tx.mu.Lock()
		tx.subs[name] = s
		tx.mu.Unlock()
		tx.after = append(tx.after, func() { b.startPush(s) })
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(config), nil
}

// checkTopics checks that the topics that a configuration names exist.
func (tx *transaction) checkTopics(c *pubsubpb.Subscription) error {
	for _, name := range []string{c.GetTopic(), c.GetDeadLetterPolicy().GetDeadLetterTopic()} {
		if name != "" && name != deletedTopic && tx.topic(name) == nil {
			return notFound(name)
		}
	}
	return nil
}

// putSubscription keeps a configuration and puts it in force.
func (tx *transaction) putSubscription(s *subscription, config *pubsubpb.Subscription) error {
	value, err := proto.MarshalOptions{}.MarshalAppend(idKey(s.number), config)
	if err != nil {
		return invalid("The subscription cannot be encoded: %v", err)
	}
	tx.put(subscriptionsBucket, []byte(s.name), value)
	s.reconfigure(config)
	return nil
}

// GetSubscription returns a subscription's configuration.
func (b *Broker) GetSubscription(_ context.Context, req *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	s, err := b.existing(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(s.configuration()), nil
}

// existing returns a subscription that is there.
func (b *Broker) existing(name string) (*subscription, error) {
	if err := checkSubscription(name); err != nil {
		return nil, err
	}
	s := b.state.subscription(name)
	if s == nil {
		return nil, notFound(name)
	}
	return s, nil
}

// ListSubscriptions returns a project's subscriptions, ordered by name.
func (b *Broker) ListSubscriptions(_ context.Context, req *pubsubpb.ListSubscriptionsRequest) (*pubsubpb.ListSubscriptionsResponse, error) {
	if err := checkProject(req.GetProject()); err != nil {
		return nil, err
	}
	var names []string
	for _, s := range b.state.all() {
		names = append(names, s.name)
	}
	names, next, err := page(names, req.GetProject()+"/subscriptions/", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSubscriptionsResponse{NextPageToken: next}
	for _, name := range names {
		if s := b.state.subscription(name); s != nil {
			resp.Subscriptions = append(resp.Subscriptions, proto.CloneOf(s.configuration()))
		}
	}
	return resp, nil
}

// UpdateSubscription changes what the mask names.
func (b *Broker) UpdateSubscription(ctx context.Context, req *pubsubpb.UpdateSubscriptionRequest) (*pubsubpb.Subscription, error) {
	if len(req.GetUpdateMask().GetPaths()) == 0 {
		return nil, invalid("The update_mask in the UpdateSubscriptionRequest is empty.")
	}
	return b.change(ctx, req.GetSubscription().GetName(), req.GetSubscription(), req.GetUpdateMask().GetPaths())
}

// ModifyPushConfig changes where a subscription is pushed to; with none it is pulled from.
func (b *Broker) ModifyPushConfig(ctx context.Context, req *pubsubpb.ModifyPushConfigRequest) (*emptypb.Empty, error) {
	from := &pubsubpb.Subscription{PushConfig: req.GetPushConfig()}
	if _, err := b.change(ctx, req.GetSubscription(), from, []string{"push_config"}); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (b *Broker) change(ctx context.Context, name string, from *pubsubpb.Subscription, paths []string) (*pubsubpb.Subscription, error) {
	if err := checkSubscription(name); err != nil {
		return nil, err
	}
	var config *pubsubpb.Subscription
	err := b.writer.wait(ctx, &op{alone: true, do: func(tx *transaction) (err error) { //nolint:contextcheck // pushing outlives the call
		s := tx.subscription(name)
		if s == nil {
			return notFound(name)
		}
		if config, err = updated(s.configuration(), from, paths); err != nil {
			return err
		}
		if config, err = b.completed(config); err != nil {
			return err
		}
		if err := tx.checkTopics(config); err != nil {
			return err
		}
		if err := tx.putSubscription(s, config); err != nil {
			return err
		}
		tx.after = append(tx.after, func() { s.stopPush(); b.startPush(s) })
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(config), nil
}

// DeleteSubscription removes a subscription with all that waits for it.
func (b *Broker) DeleteSubscription(ctx context.Context, req *pubsubpb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	name := req.GetSubscription()
	if err := checkSubscription(name); err != nil {
		return nil, err
	}
	err := b.writer.wait(ctx, &op{alone: true, do: func(tx *transaction) error {
		s := tx.subscription(name)
		if s == nil {
			return notFound(name)
		}
		tx.mu.Lock()
		delete(tx.subs, name)
		tx.mu.Unlock()
		tx.put(subscriptionsBucket, []byte(name), nil)
		tx.release(s.number, s.remove())
		tx.after = append(tx.after, s.stopPush)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
