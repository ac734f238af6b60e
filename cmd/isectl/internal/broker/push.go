package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"syscall"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"github.com/isectech/service-networking/cmd/isectl/internal/broker/queue"
)

const (
	// leaseMargin is how much longer a pushed message is leased than its request may take.
	leaseMargin = 5 * time.Second
	// maxAnswer bounds what is read of an answer, so that its connection can be used again.
	maxAnswer = 64 << 10

	eventType  = "google.cloud.pubsub.topic.v1.messagePublished"
	timeFormat = "2006-01-02T15:04:05.000Z07:00"
)

// startPush begins to push, if the subscription's configuration says where to.
func (b *Broker) startPush(s *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.unpush != nil || s.config.GetPushConfig().GetPushEndpoint() == "" || b.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(b.ctx)
	s.unpush = cancel
	b.running.Go(func() { s.push(ctx) })
}

// stopPush ends the pushing and cuts off what is under way.
func (s *subscription) stopPush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unpush != nil {
		s.unpush()
		s.unpush = nil
	}
}

// push pushes messages until ctx ends: several at a time, but since it takes them one by one, one of each
// ordering key.
func (s *subscription) push(ctx context.Context) {
	slots := make(chan struct{}, s.b.opts.PushConcurrency)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		got, err := s.receive(ctx, func() demand {
			return demand{
				Demand: queue.Demand{Messages: 1},
				lease:  time.Duration(s.config.GetAckDeadlineSeconds())*time.Second + leaseMargin,
			}
		})
		if err != nil || ctx.Err() != nil {
			return
		}
		s.b.running.Go(func() {
			defer func() { <-slots }()
			s.pushOne(ctx, got[0])
		})
	}
}

// pushOne sends one message and judges the answer: any 2xx acknowledges it.
func (s *subscription) pushOne(ctx context.Context, d delivery) {
	config := s.configuration()
	err := s.b.post(ctx, config, d)
	switch {
	case err == nil:
		s.ack(d.ID, d.Lease)
	case ctx.Err() != nil: // stopped: whoever comes next gets it
		s.nack(d.ID, d.Lease)
	default:
		s.nack(d.ID, d.Lease)
		s.b.logger.LogAttrs(ctx, slog.LevelWarn, "push failed", slog.String("subscription", s.name),
			slog.String("message_id", d.message.GetMessageId()), slog.Int("attempt", d.Attempt), slog.String("error", err.Error()))
	}
}

func (b *Broker) post(ctx context.Context, config *pubsubpb.Subscription, d delivery) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(config.GetAckDeadlineSeconds())*time.Second)
	defer cancel()
	req, err := b.pushRequest(ctx, config, d)
	if err != nil {
		return err
	}
	resp, err := b.http.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the URL may hold a token
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read as far as it matters
	if _, err := io.CopyN(io.Discard, resp.Body, maxAnswer); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// pushBody is what is pushed, with the names that Pub/Sub gives twice.
type pushBody struct {
	DeliveryAttempt int         `json:"deliveryAttempt,omitempty"`
	Message         pushMessage `json:"message"`
	Subscription    string      `json:"subscription"`
}

type pushMessage struct {
	Attributes   map[string]string `json:"attributes,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	MessageID    string            `json:"messageId"`
	MessageID2   string            `json:"message_id"`
	OrderingKey  string            `json:"orderingKey,omitempty"`
	PublishTime  string            `json:"publishTime"`
	PublishTime2 string            `json:"publish_time"`
}

func (b *Broker) pushRequest(ctx context.Context, config *pubsubpb.Subscription, d delivery) (*http.Request, error) {
	m := d.message
	published := m.GetPublishTime().AsTime().UTC().Format(timeFormat)
	body := pushBody{
		Subscription: config.GetName(),
		Message: pushMessage{
			Attributes: m.GetAttributes(), Data: m.GetData(), OrderingKey: m.GetOrderingKey(),
			MessageID: m.GetMessageId(), MessageID2: m.GetMessageId(), PublishTime: published, PublishTime2: published,
		},
	}
	if config.GetDeadLetterPolicy() != nil {
		body.DeliveryAttempt = d.Attempt
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, config.GetPushConfig().GetPushEndpoint(), bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	h := req.Header
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "CloudPubSub-Google")
	if parent := traceparent(m.GetAttributes()); parent != "" {
		h.Set("traceparent", parent)
	}
	if b.opts.Raw == nil || !b.opts.Raw(config) {
		h.Set("ce-id", m.GetMessageId())
		h.Set("ce-source", "//pubsub.googleapis.com/"+d.topic)
		h.Set("ce-specversion", "1.0")
		h.Set("ce-type", eventType)
		h.Set("ce-time", published)
	}
	if b.opts.PushHeader != nil {
		b.opts.PushHeader(req.URL, h)
	}
	return req, nil
}

var traceparentPattern = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// traceparent returns the trace context of the publisher, by its own name or by the one that Google's
// clients give it.
func traceparent(attributes map[string]string) string {
	for _, name := range []string{"traceparent", "googclient_traceparent"} {
		if v := attributes[name]; traceparentPattern.MatchString(v) {
			return v
		}
	}
	return ""
}

// noRedirects hands a redirect on as what it is: not an acknowledgement.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// LoopbackTransport returns a transport that connects to this machine alone, whatever names resolve to.
func LoopbackTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil || !addr.Addr().Unmap().IsLoopback() {
			return fmt.Errorf("%s is not this machine", address)
		}
		return nil
	}}
	return &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: 2 * defaultPushConcurrency, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 5 * time.Second,
	}
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
