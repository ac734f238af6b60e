package redis_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
)

func TestNonces(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	clock := &steady{at: time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)}
	nonces := redis.NewNonces(open(t, server, roomy()), clock.now)
	until := clock.now().Add(10 * time.Minute)
	if err := nonces.Use(t.Context(), "abc", until); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := nonces.Use(t.Context(), "abc", until); !errors.Is(err, signature.ErrReplayed) {
			t.Errorf("second use: %v", err)
		}
	}
	if err := nonces.Use(t.Context(), "abd", until); err != nil {
		t.Errorf("another nonce: %v", err)
	}
	left, err := strconv.Atoi(server.Do("PTTL", "nonce:abc"))
	if want := 600_001; err != nil || left > want || left < want-60_000 {
		t.Errorf("kept for %d ms; want %d", left, want)
	}
	if err := nonces.Use(t.Context(), "over", clock.now().Add(-time.Second)); err == nil || errors.Is(err, signature.ErrReplayed) {
		t.Errorf("a nonce that is over: %v", err)
	}
	if keys := strings.Join(server.Keys(), " "); strings.Contains(keys, "over") {
		t.Errorf("keys: %s", keys)
	}
}

// TestNonceIsGoodOnce has instances race for one nonce.
func TestNonceIsGoodOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	until := time.Now().Add(time.Minute)
	var good atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		nonces := redis.NewNonces(open(t, server, roomy()), time.Now)
		for range 10 {
			group.Go(func() {
				switch err := nonces.Use(t.Context(), "abc", until); {
				case err == nil:
					good.Add(1)
				case !errors.Is(err, signature.ErrReplayed):
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if good.Load() != 1 {
		t.Errorf("good %d times", good.Load())
	}
}

func TestNoncesWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	nonces := redis.NewNonces(open(t, server, redis.Options{Cooldown: time.Millisecond}), time.Now)
	for _, trouble := range []func(){server.Pause, server.Resume, server.Stop} {
		trouble()
		if err := nonces.Use(t.Context(), "abc", time.Now().Add(time.Minute)); errors.Is(err, signature.ErrReplayed) && !errors.Is(err, redis.ErrUnavailable) {
			continue // Redis was resumed, and has got the first use after all
		} else if err != nil && !errors.Is(err, redis.ErrUnavailable) {
			t.Error(err)
		}
	}
	if err := nonces.Use(t.Context(), "abc", time.Now().Add(time.Minute)); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("without Redis: %v", err)
	}
}

// scripted is a place for nonces that answers as it was told to.
type scripted struct {
	err   error
	calls *[]string
	name  string
}

func (s scripted) Use(context.Context, string, time.Time) error {
	*s.calls = append(*s.calls, s.name)
	return s.err
}

func TestNonceOrder(t *testing.T) {
	t.Parallel()
	unavailable := errors.Join(errors.New("redis set_new"), redis.ErrUnavailable)
	failed := errors.New("store unavailable")
	for name, tt := range map[string]struct {
		method          string
		shared, durable error
		want            error
		calls           string
	}{
		"read":                              {http.MethodGet, nil, failed, nil, "shared"},
		"read, replayed":                    {http.MethodHead, signature.ErrReplayed, nil, signature.ErrReplayed, "shared"},
		"read without Redis":                {http.MethodGet, unavailable, nil, redis.ErrUnavailable, "shared"},
		"write":                             {http.MethodPost, nil, nil, nil, "shared durable"},
		"write, replayed":                   {http.MethodPost, signature.ErrReplayed, nil, signature.ErrReplayed, "shared"},
		"write, forgotten by Redis":         {http.MethodPut, nil, signature.ErrReplayed, signature.ErrReplayed, "shared durable"},
		"write without Redis":               {http.MethodPost, unavailable, nil, nil, "shared durable"},
		"write without Redis, replayed":     {http.MethodDelete, unavailable, signature.ErrReplayed, signature.ErrReplayed, "shared durable"},
		"write without anything":            {http.MethodPatch, unavailable, failed, failed, "shared durable"},
		"write, memory full":                {http.MethodPost, signature.ErrNoncesFull, nil, signature.ErrNoncesFull, "shared"},
		"a method in lower case is no read": {"get", unavailable, nil, nil, "shared durable"},
	} {
		var calls []string
		order := redis.NonceOrder{Shared: scripted{tt.shared, &calls, "shared"}, Durable: scripted{tt.durable, &calls, "durable"}}
		err := order.For(signature.Request{Method: tt.method}).Use(t.Context(), "abc", time.Now())
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v; want %v", name, err, tt.want)
		}
		if got := strings.Join(calls, " "); got != tt.calls {
			t.Errorf("%s: asked %s; want %s", name, got, tt.calls)
		}
	}
	var calls []string
	alone := redis.NonceOrder{Durable: scripted{nil, &calls, "durable"}}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if err := alone.For(signature.Request{Method: method}).Use(t.Context(), "abc", time.Now()); err != nil {
			t.Error(err)
		}
	}
	if len(calls) != 2 {
		t.Errorf("without Redis: asked %v", calls)
	}
}
