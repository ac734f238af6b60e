package redis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth/signature"
)

// noncePrefix begins the keys of nonces; what follows is the hash that signature.Nonces is given.
const noncePrefix = "nonce:"

// Nonces remembers nonces in Redis, for all instances together. Since a failover may forget what Redis had
// acknowledged, it alone will do only where a replay does no harm; NonceOrder says where that is.
type Nonces struct {
	client *Client
	now    func() time.Time
}

// NewNonces returns the nonces in a Redis; now is the clock that the verifier has.
func NewNonces(client *Client, now func() time.Time) *Nonces { return &Nonces{client, now} }

// Use implements signature.Nonces. An error that wraps ErrUnavailable says that nothing is known of the nonce;
// it may be used up all the same.
func (n *Nonces) Use(ctx context.Context, key string, until time.Time) error {
	// A key is remembered through the instant of until, so one millisecond longer.
	left := until.Sub(n.now()) + time.Millisecond
	if left < time.Millisecond {
		return fmt.Errorf("nonce: %s is over", until.UTC().Format(time.RFC3339))
	}
	set, err := n.client.SetNew(ctx, noncePrefix+key, "1", left)
	if err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	if !set {
		return signature.ErrReplayed
	}
	return nil
}

// NonceOrder decides where the nonce of a request is used up:
//
//   - a GET or HEAD request in Shared alone. When that is unavailable the request is refused, as nobody can
//     say whether it was seen before;
//   - any other request, token requests among them, first in Shared and then in Durable, which no failover
//     forgets. It is good only where neither has seen it; when Shared is unavailable, Durable decides alone.
type NonceOrder struct {
	Shared  signature.Nonces // Nonces, or a signature.MemoryNonces of the only instance; nil: Durable is for all requests
	Durable signature.Nonces // in the store
}

// For returns the nonces for a request.
func (o NonceOrder) For(r signature.Request) signature.Nonces {
	switch {
	case o.Shared == nil:
		return o.Durable
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return o.Shared
	}
	return both(o)
}

// both uses a nonce up in two places.
type both NonceOrder

// Use implements signature.Nonces.
func (b both) Use(ctx context.Context, key string, until time.Time) error {
	if err := b.Shared.Use(ctx, key, until); err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	return b.Durable.Use(ctx, key, until)
}
