package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/store"
)

// nonces returns where the nonce of a request is used up: in what all instances share, and for everything
// but reads also in the store, which forgets nothing and without the other keeps the nonces of reads too.
func (s *Service) nonces(r signature.Request) signature.Nonces {
	return redis.NonceOrder{Shared: s.deps.Nonces, Durable: storedNonces{s.deps.Store}}.For(r)
}

// storedNonces keeps nonces as documents that expire.
type storedNonces struct{ store store.Store }

func (n storedNonces) Use(ctx context.Context, key string, until time.Time) error {
	_, err := n.store.Commit(ctx, store.Batch{
		Writes: []store.Write{{
			Ref:       store.Ref{Collection: store.Nonces, ID: key},
			Data:      struct{}{},
			ExpiresAt: until,
			If:        store.Absent(),
		}},
		Actor: Name,
		Cause: "nonce",
	})
	if errors.Is(err, store.ErrConflict) {
		return signature.ErrReplayed
	}
	if err != nil {
		return fmt.Errorf("store nonce: %w", err)
	}
	return nil
}
