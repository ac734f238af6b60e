package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/store"
)

// nonces returns where the nonce of a request is used up: in this instance's memory, and for everything
// but reads also in the store, which all instances share and a restart does not forget.
func (s *Service) nonces(r signature.Request) signature.Nonces {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return s.recentNonces
	}
	return both{s.recentNonces, storedNonces{s.deps.Store}}
}

// both uses a nonce up in two places; it is good only where neither has seen it.
type both [2]signature.Nonces

func (b both) Use(ctx context.Context, key string, until time.Time) error {
	if err := b[0].Use(ctx, key, until); err != nil {
		return err
	}
	return b[1].Use(ctx, key, until)
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
