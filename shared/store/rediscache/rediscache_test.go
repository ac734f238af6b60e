package rediscache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// absent is a Redis that cannot be reached.
type absent struct{}

var errAbsent = errors.New("no Redis")

func (absent) GetAll(context.Context, []string) ([][]byte, error) { return nil, errAbsent }

func (absent) GetCached(context.Context, string, time.Duration) ([]byte, bool, error) {
	return nil, false, errAbsent
}

func (absent) Run(context.Context, string, []string, []string) ([]string, error) {
	return nil, errAbsent
}

// TestWithoutRedis holds the decorator to the store's suite where there is no Redis. With one, the suite runs
// in shared/platform/redis.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return rediscache.New(storetest.New(t, now), absent{}, rediscache.Options{Now: now, Environments: []string{"production"}})
	})
}

func TestFeedWithoutRedis(t *testing.T) {
	t.Parallel()
	clock := new(storetest.Clock)
	s := rediscache.New(storetest.New(t, clock.Now), absent{}, rediscache.Options{Now: clock.Now, Environments: []string{"production"}})
	if _, err := s.Index(t.Context(), "production"); !errors.Is(err, errAbsent) {
		t.Errorf("index: %v", err)
	}
	if _, _, err := s.ChangedSince(t.Context(), "production", 0, 10); !errors.Is(err, errAbsent) {
		t.Errorf("changes: %v", err)
	}
	docs, err := s.Commit(t.Context(), store.Batch{
		Writes: []store.Write{{Ref: store.Ref{Collection: store.Services, ID: "a"}, Data: map[string]any{}}},
		Actor:  "test", Cause: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Observe(t.Context(), docs...); !errors.Is(err, errAbsent) {
		t.Errorf("observe: %v", err)
	}
}
