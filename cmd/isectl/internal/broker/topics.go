package broker

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	defaultPage = 100
	maxPage     = 1000
)

// CreateTopic makes a topic.
func (b *Broker) CreateTopic(ctx context.Context, req *pubsubpb.Topic) (*pubsubpb.Topic, error) {
	if err := checkTopic(req.GetName()); err != nil {
		return nil, err
	}
	if err := checkTopicSettings(req); err != nil {
		return nil, err
	}
	topic := proto.CloneOf(req)
	topic.State = pubsubpb.Topic_ACTIVE
	err := b.writer.wait(ctx, &op{alone: true, do: func(tx *transaction) error {
		if tx.topic(topic.GetName()) != nil {
			return exists(topic.GetName())
		}
		return tx.putTopic(topic)
	}})
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(topic), nil
}

func checkTopicSettings(t *pubsubpb.Topic) error {
	switch {
	case t.GetSchemaSettings() != nil:
		return unimplemented("schema_settings")
	case t.GetIngestionDataSourceSettings() != nil:
		return unimplemented("ingestion_data_source_settings")
	case len(t.GetMessageTransforms()) > 0:
		return unimplemented("message_transforms")
	case t.GetKmsKeyName() != "":
		return unimplemented("kms_key_name")
	case t.GetMessageRetentionDuration() != nil:
		return unimplemented("message_retention_duration of a topic")
	}
	return nil
}

// putTopic keeps a topic.
func (tx *transaction) putTopic(t *pubsubpb.Topic) error {
	value, err := proto.Marshal(t)
	if err != nil {
		return invalid("The topic cannot be encoded: %v", err)
	}
	tx.put(topicsBucket, []byte(t.GetName()), value)
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.topics[t.GetName()] = t
	return nil
}

// UpdateTopic changes a topic's labels.
func (b *Broker) UpdateTopic(ctx context.Context, req *pubsubpb.UpdateTopicRequest) (*pubsubpb.Topic, error) {
	name := req.GetTopic().GetName()
	if err := checkTopic(name); err != nil {
		return nil, err
	}
	if len(req.GetUpdateMask().GetPaths()) == 0 {
		return nil, invalid("The update_mask in the request is empty.")
	}
	for _, path := range req.GetUpdateMask().GetPaths() {
		if path != "labels" {
			return nil, unimplemented("update of " + path)
		}
	}
	var updated *pubsubpb.Topic
	err := b.writer.wait(ctx, &op{alone: true, do: func(tx *transaction) error {
		topic := tx.topic(name)
		if topic == nil {
			return notFound(name)
		}
		updated = proto.CloneOf(topic)
		updated.Labels = maps.Clone(req.GetTopic().GetLabels())
		return tx.putTopic(updated)
	}})
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(updated), nil
}

// GetTopic returns a topic.
func (b *Broker) GetTopic(_ context.Context, req *pubsubpb.GetTopicRequest) (*pubsubpb.Topic, error) {
	if err := checkTopic(req.GetTopic()); err != nil {
		return nil, err
	}
	topic := b.state.topic(req.GetTopic())
	if topic == nil {
		return nil, notFound(req.GetTopic())
	}
	return proto.CloneOf(topic), nil
}

// ListTopics returns a project's topics, ordered by name.
func (b *Broker) ListTopics(_ context.Context, req *pubsubpb.ListTopicsRequest) (*pubsubpb.ListTopicsResponse, error) {
	if err := checkProject(req.GetProject()); err != nil {
		return nil, err
	}
	b.state.mu.RLock()
	names := slices.Sorted(maps.Keys(b.state.topics))
	b.state.mu.RUnlock()
	names, next, err := page(names, req.GetProject()+"/topics/", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListTopicsResponse{NextPageToken: next}
	for _, name := range names {
		if topic := b.state.topic(name); topic != nil {
			resp.Topics = append(resp.Topics, proto.CloneOf(topic))
		}
	}
	return resp, nil
}

// page cuts a page out of sorted names. The token is the last name of the page before.
func page(names []string, prefix string, size int32, token string) (out []string, next string, err error) {
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || size < 0 {
		return nil, "", invalid("The page size or the page token is not valid.")
	}
	if size == 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) || name <= string(after) {
			continue
		}
		if len(out) == int(size) {
			return out, base64.RawURLEncoding.EncodeToString([]byte(out[len(out)-1])), nil
		}
		out = append(out, name)
	}
	return out, "", nil
}

// ListTopicSubscriptions returns the names of a topic's subscriptions.
func (b *Broker) ListTopicSubscriptions(_ context.Context, req *pubsubpb.ListTopicSubscriptionsRequest) (*pubsubpb.ListTopicSubscriptionsResponse, error) {
	if err := checkTopic(req.GetTopic()); err != nil {
		return nil, err
	}
	if b.state.topic(req.GetTopic()) == nil {
		return nil, notFound(req.GetTopic())
	}
	var names []string
	for _, s := range b.state.of(req.GetTopic()) {
		names = append(names, s.name)
	}
	names, next, err := page(names, "", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pubsubpb.ListTopicSubscriptionsResponse{Subscriptions: names, NextPageToken: next}, nil
}

// DeleteTopic removes a topic. Its subscriptions stay, with what they have.
func (b *Broker) DeleteTopic(ctx context.Context, req *pubsubpb.DeleteTopicRequest) (*emptypb.Empty, error) {
	name := req.GetTopic()
	if err := checkTopic(name); err != nil {
		return nil, err
	}
	err := b.writer.wait(ctx, &op{alone: true, do: func(tx *transaction) error {
		if tx.topic(name) == nil {
			return notFound(name)
		}
		for _, s := range tx.of(name) {
			config := proto.CloneOf(s.configuration())
			config.Topic = deletedTopic
			if err := tx.putSubscription(s, config); err != nil {
				return err
			}
		}
		tx.put(topicsBucket, []byte(name), nil)
		tx.mu.Lock()
		defer tx.mu.Unlock()
		delete(tx.topics, name)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}
