package broker

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

// stream is one StreamingPull.
type stream struct {
	pubsubpb.Subscriber_StreamingPullServer
	s        *subscription
	deadline atomic.Int64 // time.Duration
	messages int          // at most out at a time; 0: any number
	bytes    int
	answers  bool // pings
	flow     flow // guarded by the subscription's lock

	sending sync.Mutex
}

// StreamingPull leases messages as they come, within the limits that the client sets, until it hangs up.
func (b *Broker) StreamingPull(server pubsubpb.Subscriber_StreamingPullServer) error {
	req, err := server.Recv()
	if err != nil {
		return err
	}
	s, err := b.pulled(req.GetSubscription())
	if err != nil {
		return err
	}
	st := &stream{
		Subscriber_StreamingPullServer: server, s: s, answers: req.GetProtocolVersion() >= 1,
		messages: int(max(req.GetMaxOutstandingMessages(), 0)), bytes: int(max(req.GetMaxOutstandingBytes(), 0)),
	}
	if err := st.setDeadline(req.GetStreamAckDeadlineSeconds()); err != nil {
		return err
	}
	if err := st.take(req); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(server.Context())
	defer cancel(nil)
	go func() { cancel(st.listen()) }() // ends with the call, which ends Recv
	if err := st.deliver(ctx); err != nil {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, io.EOF) && server.Context().Err() == nil {
		return cause
	}
	return nil
}

func (st *stream) setDeadline(seconds int32) error {
	d := time.Duration(seconds) * time.Second
	if d < defaultAckDeadline || d > maxAckDeadline {
		return invalid("Invalid ack deadline given (ack_deadline_secs=%d); it must be from 10 to 600.", seconds)
	}
	st.deadline.Store(int64(d))
	return nil
}

// listen reads what the client says until it says no more.
func (st *stream) listen() error {
	for {
		req, err := st.Recv()
		if err != nil {
			return err
		}
		if req.GetSubscription() != "" || req.GetMaxOutstandingMessages() != 0 || req.GetMaxOutstandingBytes() != 0 || req.GetProtocolVersion() != 0 {
			return invalid("The subscription, the limits and the protocol belong to the first request of the stream.")
		}
		if req.GetStreamAckDeadlineSeconds() != 0 {
			if err := st.setDeadline(req.GetStreamAckDeadlineSeconds()); err != nil {
				return err
			}
		}
		if err := st.take(req); err != nil {
			return err
		}
		if len(req.GetAckIds()) == 0 && len(req.GetModifyDeadlineAckIds()) == 0 && st.answers {
			if err := st.send(nil); err != nil {
				return err
			}
		}
	}
}

// take does what a request asks for its messages.
func (st *stream) take(req *pubsubpb.StreamingPullRequest) error {
	ids, seconds := req.GetModifyDeadlineAckIds(), req.GetModifyDeadlineSeconds()
	if len(ids) != len(seconds) {
		return invalid("There are %d ack ids and %d deadlines.", len(ids), len(seconds))
	}
	if err := st.s.acknowledge(req.GetAckIds()); err != nil {
		return err
	}
	for i, id := range ids {
		if err := st.s.modify(id, seconds[i]); err != nil {
			return err
		}
	}
	return nil
}

// deliver sends messages until ctx ends.
func (st *stream) deliver(ctx context.Context) error {
	for {
		got, err := st.s.receive(ctx, st.demand)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if err := st.send(st.s.received(got)); err != nil {
			return err
		}
	}
}

// demand is what the client can still take. It is called with the subscription's lock held.
func (st *stream) demand() demand {
	d := demand{
		Demand: queue.Demand{Messages: maxPull, Bytes: maxPullBytes},
		lease:  time.Duration(st.deadline.Load()), flow: &st.flow,
	}
	if st.messages > 0 {
		d.Messages = max(min(d.Messages, st.messages-st.flow.messages), 0)
	}
	if st.bytes > 0 {
		d.Bytes = min(d.Bytes, st.bytes-st.flow.bytes)
		if d.Bytes <= 0 {
			d.Messages, d.Bytes = 0, 0
		}
	}
	return d
}

func (st *stream) send(messages []*pubsubpb.ReceivedMessage) error {
	st.sending.Lock()
	defer st.sending.Unlock()
	return st.Send(&pubsubpb.StreamingPullResponse{
		ReceivedMessages: messages,
		SubscriptionProperties: &pubsubpb.StreamingPullResponse_SubscriptionProperties{
			MessageOrderingEnabled: st.s.configuration().GetEnableMessageOrdering(),
		},
	})
}
