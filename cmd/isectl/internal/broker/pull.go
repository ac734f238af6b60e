package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

const (
	// maxPull and maxPullBytes bound what goes into one answer.
	maxPull      = 1000
	maxPullBytes = 4 << 20
	// pullWait is how long a Pull waits for a first message; clients give up after a minute.
	pullWait = 50 * time.Second
)

var errPushed = status.Error(codes.FailedPrecondition, "This method is not supported for this subscription type: it is pushed.")

// pulled returns a subscription that is there and may be pulled from.
func (b *Broker) pulled(name string) (*subscription, error) {
	s, err := b.existing(name)
	if err != nil {
		return nil, err
	}
	if s.configuration().GetPushConfig().GetPushEndpoint() != "" {
		return nil, errPushed
	}
	return s, nil
}

// Pull leases messages, and waits a while for the first one.
func (b *Broker) Pull(ctx context.Context, req *pubsubpb.PullRequest) (*pubsubpb.PullResponse, error) {
	s, err := b.pulled(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	most := int(req.GetMaxMessages())
	if most < 1 {
		return nil, invalid("max_messages is %d; it must be positive.", most)
	}
	wait := pullWait
	if req.GetReturnImmediately() { //nolint:staticcheck // deprecated, and still sent
		wait = 0
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	got, err := s.receive(ctx, func() demand {
		return demand{
			Demand: queue.Demand{Messages: min(most, maxPull), Bytes: maxPullBytes},
			lease:  time.Duration(s.config.GetAckDeadlineSeconds()) * time.Second,
		}
	})
	if err != nil {
		return nil, err
	}
	return &pubsubpb.PullResponse{ReceivedMessages: s.received(got)}, nil
}

// received is how messages go to whoever pulls them.
func (s *subscription) received(got []delivery) []*pubsubpb.ReceivedMessage {
	counted := s.configuration().GetDeadLetterPolicy() != nil
	out := make([]*pubsubpb.ReceivedMessage, len(got))
	for i, d := range got {
		out[i] = &pubsubpb.ReceivedMessage{AckId: s.ackID(d.Delivery), Message: d.message}
		if counted {
			out[i].DeliveryAttempt = int32(min(d.Attempt, 1<<30)) // #nosec G115 -- bounded
		}
	}
	return out
}

// ackID names a delivery: the subscription's number, the message, the lease.
func (s *subscription) ackID(d queue.Delivery) string {
	return fmt.Sprintf("%d.%d.%d", s.number, d.ID, d.Lease)
}

func (s *subscription) parseAckID(text string) (id, lease uint64, err error) {
	parts := strings.Split(text, ".")
	var n [3]uint64
	for i := range n {
		if len(parts) != len(n) {
			break
		}
		if n[i], err = strconv.ParseUint(parts[i], 10, 64); err != nil {
			break
		}
	}
	if len(parts) != len(n) || err != nil || n[0] != s.number {
		return 0, 0, invalid("You have passed an invalid ack ID to the service (ack_id=%.100s).", text)
	}
	return n[1], n[2], nil
}

// Acknowledge ends messages for this subscription.
func (b *Broker) Acknowledge(_ context.Context, req *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	s, err := b.existing(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if len(req.GetAckIds()) == 0 {
		return nil, invalid("No ack ids specified.")
	}
	return answer(s.acknowledge(req.GetAckIds()))
}

func answer(err error) (*emptypb.Empty, error) {
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *subscription) acknowledge(ackIDs []string) error {
	var faults []error
	for _, text := range ackIDs {
		id, lease, err := s.parseAckID(text)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s.ack(id, lease)
	}
	return first(faults)
}

// ModifyAckDeadline moves the end of leases; to move it to now is to refuse the message.
func (b *Broker) ModifyAckDeadline(_ context.Context, req *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	s, err := b.existing(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if len(req.GetAckIds()) == 0 {
		return nil, invalid("No ack ids specified.")
	}
	var faults []error
	for _, ackID := range req.GetAckIds() {
		faults = append(faults, s.modify(ackID, req.GetAckDeadlineSeconds()))
	}
	return answer(first(faults))
}

func (s *subscription) modify(ackID string, seconds int32) error {
	by := time.Duration(seconds) * time.Second
	if by < 0 || by > maxAckDeadline {
		return invalid("Invalid ack deadline given (ack_deadline_secs=%d); it must be from 0 to 600.", seconds)
	}
	id, lease, err := s.parseAckID(ackID)
	if err != nil {
		return err
	}
	if by == 0 {
		s.nack(id, lease)
		return nil
	}
	s.extend(id, lease, by)
	return nil
}

func first(faults []error) error {
	for _, err := range faults {
		if err != nil {
			return err
		}
	}
	return nil
}
