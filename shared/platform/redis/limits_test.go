package redis_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
)

var limited = ratelimit.Key{Caller: auth.MustSubject("isectech-frontend"), Environment: auth.Production}

// counted are limits with a count of where requests were counted.
type counted struct {
	*redis.Limits
	shared, alone atomic.Int64
}

func limitsOf(t *testing.T, server *redistest.Server, o redis.Options) *counted {
	t.Helper()
	c := new(counted)
	c.Limits = redis.NewLimits(open(t, server, o), ratelimit.NewMemory(1000, time.Now), func(shared bool) {
		if shared {
			c.shared.Add(1)
		} else {
			c.alone.Add(1)
		}
	})
	return c
}

// take returns how many of n requests are let through.
func (c *counted) take(t *testing.T, n int, l ratelimit.Limit) (passed int) {
	t.Helper()
	for range n {
		if c.Take(t.Context(), limited, l).Allowed {
			passed++
		}
	}
	return passed
}

func TestLimits(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one, two := limitsOf(t, server, roomy()), limitsOf(t, server, roomy())
	l := ratelimit.Limit{Requests: 5, Per: time.Hour}
	if d := one.Take(t.Context(), limited, l); !d.Allowed || d.Remaining != 4 || d.RetryAfter != 0 || d.ResetAfter != 12*time.Minute {
		t.Errorf("the first: %+v", d)
	}
	if passed := one.take(t, 2, l) + two.take(t, 10, l) + one.take(t, 2, l); passed != 4 {
		t.Errorf("%d were let through after the first", passed)
	}
	d := two.Take(t.Context(), limited, l)
	if d.Allowed || d.Remaining != 0 || d.RetryAfter > 12*time.Minute || d.RetryAfter < 10*time.Minute || d.ResetAfter > time.Hour || d.ResetAfter < 58*time.Minute {
		t.Errorf("the last: %+v", d)
	}
	if n := one.alone.Load() + two.alone.Load(); n > 0 {
		t.Errorf("%d were counted alone", n)
	}
	if keys := server.Keys(); len(keys) != 1 || keys[0] != "ratelimit:isectech-frontend" {
		t.Errorf("keys: %v", keys)
	}
	left, err := strconv.Atoi(server.Do("PTTL", "ratelimit:isectech-frontend"))
	if err != nil || left > 3_600_000 || left < 3_500_000 {
		t.Errorf("kept for %d ms", left)
	}
	// Another caller, and the same in another place, are counted for themselves.
	for _, key := range []ratelimit.Key{
		{Caller: auth.MustSubject("isectech-admin"), Environment: auth.Production},
		{Caller: limited.Caller, Environment: auth.Development},
		{Caller: limited.Caller, Environment: auth.Production, Target: auth.MustSubject("isectech-admin")},
	} {
		if d := one.Take(t.Context(), key, l); !d.Allowed || d.Remaining != 4 {
			t.Errorf("%s: %+v", key, d)
		}
	}
	if d := one.Take(t.Context(), limited, ratelimit.Limit{}); !d.Allowed {
		t.Error("no limit refuses")
	}
	// The limit is raised: what was used up is, and comes in at the new rate.
	if d := one.Take(t.Context(), limited, ratelimit.Limit{Requests: 10_000, Per: time.Hour}); !d.Allowed && d.RetryAfter > 360*time.Millisecond {
		t.Errorf("a higher limit: %+v", d)
	}
}

func TestLimitsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		c := limitsOf(t, server, roomy())
		for range 10 {
			group.Go(func() { passed.Add(int64(c.take(t, 10, ratelimit.Limit{Requests: 100, Per: 24 * time.Hour}))) })
		}
	}
	group.Wait()
	if passed.Load() != 100 {
		t.Errorf("%d were let through", passed.Load())
	}
}

// What somebody else has put where a count belongs is no reason to fail, and none to keep a caller out for long.
func TestLimitsOverGarbage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := limitsOf(t, server, roomy())
	l := ratelimit.Limit{Requests: 2, Per: time.Hour}
	const key = "ratelimit:isectech-frontend"
	for _, put := range [][]string{
		{"SET", key, "garbage"}, {"SET", key, ""}, {"SET", key, "-1"}, {"SET", key, "nan"}, {"SET", key, "0x7fffffffffffffff"},
		{"SET", key, "1e300"}, {"RPUSH", key, "x"}, {"HSET", key, "a", "b"},
	} {
		server.Do("DEL", key)
		server.Do(put...)
		if passed := c.take(t, 5, l); passed != 2 {
			t.Errorf("%s: %d were let through", strings.Join(put, " "), passed)
		}
	}
	server.Do("SET", key, strings.Repeat("9", 300)) // ahead of all time
	if d := c.Take(t.Context(), limited, l); d.Allowed || d.RetryAfter != 30*time.Minute {
		t.Errorf("far ahead: %+v", d)
	}
	if n := c.alone.Load(); n > 0 {
		t.Errorf("%d were counted alone", n)
	}
}

func TestLimitsAreForgotten(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := limitsOf(t, server, roomy())
	l := ratelimit.Limit{Requests: 2, Per: time.Hour}
	for _, lose := range []string{"FLUSHALL", "SCRIPT FLUSH"} {
		server.Do("DEL", "ratelimit:isectech-frontend")
		c.take(t, 2, l)
		server.Do(strings.Fields(lose)...)
		want := map[string]int{"FLUSHALL": 2}[lose]
		if passed := c.take(t, 5, l); passed != want {
			t.Errorf("after %s %d were let through", lose, passed)
		}
	}
	if n := c.alone.Load(); n > 0 {
		t.Errorf("%d were counted alone", n)
	}
}

// Without Redis each instance counts for itself, and no request fails. Five wait for an answer; then the breaker
// is open and nobody does.
func TestLimitsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	l := ratelimit.Limit{Requests: 20, Per: 24 * time.Hour}
	var mu sync.Mutex
	results := map[string]int{}
	observe := func(_, result string) {
		mu.Lock()
		defer mu.Unlock()
		results[result]++
	}
	one := limitsOf(t, server, redis.Options{Cooldown: time.Hour, Observe: observe})
	server.Pause()
	if passed := one.take(t, 100, l); passed != 20 {
		t.Errorf("slow: %d were let through", passed)
	}
	if diff := cmp.Diff(map[string]int{"timeout": 5, "open": 95}, results); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	server.Resume()
	server.Stop()
	two := limitsOf(t, server, redis.Options{Cooldown: time.Hour})
	if passed := two.take(t, 100, l); passed != 20 {
		t.Errorf("down: another instance lets %d through", passed)
	}
	if one.alone.Load() != 100 || two.alone.Load() != 100 {
		t.Errorf("counted alone: %d and %d", one.alone.Load(), two.alone.Load())
	}
	server.Start()
	back := limitsOf(t, server, roomy())
	eventually(t, "Redis counts", func() bool {
		back.take(t, 1, l)
		return back.shared.Load() > 0
	})
}
