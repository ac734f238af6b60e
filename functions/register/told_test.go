package register

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
)

// toldShared returns what is shared in a Redis server.
func toldShared(t *testing.T, server *redistest.Server) *ToldShared {
	t.Helper()
	cache, err := redis.Open(server.URL(), redis.Options{
		Now: time.Now, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, ConnectTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return &ToldShared{Redis: cache, Environment: auth.Production, Now: noon.Now}
}

// noon is a clock that stands at the first moment of a span.
var noon = platformtest.NewClock(time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC))

func TestTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	shared := toldShared(t, server)
	for name, told := range map[string]struct{ by, asked Told }{
		"here":   func() struct{ by, asked Told } { h := NewToldHere(noon.Now); return struct{ by, asked Told }{h, h} }(),
		"shared": {shared, toldShared(t, server)}, // two instances of the function
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, n := range []struct {
				id         string
				generation int64
			}{{"a", 1}, {"b", 9_007_199_254_740_991}, {"a", 3}, {"a", 2}, {"a", 3}} {
				if err := told.by.Note(t.Context(), n.id, n.generation); err != nil {
					t.Fatal(err)
				}
			}
			got, err := told.asked.Noted(t.Context(), []string{"a", "none", "b", "a"})
			if diff := cmp.Diff([]int64{3, 0, 9_007_199_254_740_991, 3}, got); diff != "" || err != nil {
				t.Errorf("noted (-want +got):\n%s %v", diff, err)
			}
			if got, err := told.asked.Noted(t.Context(), nil); err != nil || len(got) != 0 {
				t.Errorf("of nothing: %v %v", got, err)
			}
			if got, err := told.asked.Noted(t.Context(), make([]string, sweepChunk)); err != nil || len(got) != sweepChunk {
				t.Errorf("of a whole chunk: %d %v", len(got), err)
			}
		})
	}
}

// What Redis has lost counts as not told, garbage as well; out of reach, nothing can be said.
func TestToldSharedLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	told := toldShared(t, server)
	note := func(generation int64) {
		t.Helper()
		if err := told.Note(t.Context(), "a", generation); err != nil {
			t.Fatal(err)
		}
	}
	want := func(generation int64) {
		t.Helper()
		if got, err := told.Noted(t.Context(), []string{"a"}); err != nil || got[0] != generation {
			t.Errorf("noted %v %v, want %d", got, err, generation)
		}
	}
	note(7)
	want(7)
	server.Flush()
	want(0)
	server.Do("HSET", told.key(span(noon.Now())), "a", "garbage")
	want(0)
	note(2)
	want(2)
	server.Do("DEL", told.key(span(noon.Now())))
	server.Do("SET", told.key(span(noon.Now())), "no hash")
	want(0)
	note(2)
	want(2)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := told.Noted(ctx, []string{"a"}); err == nil {
		t.Errorf("without Redis: %v", got)
	}
	if err := told.Note(ctx, "a", 3); err == nil {
		t.Error("noted without Redis")
	}
}

// What was noted counts for an hour at least, and is let go of in less than two.
func TestToldInTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	shared := toldShared(t, server)
	for name, build := range map[string]func(now func() time.Time) Told{
		"here":   func(now func() time.Time) Told { return NewToldHere(now) },
		"shared": func(now func() time.Time) Told { return &ToldShared{shared.Redis, shared.Environment, now} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := platformtest.NewClock(noon.Now().Add(59 * time.Minute))
			told := build(clock.Now)
			note := func(id string) {
				t.Helper()
				if err := told.Note(t.Context(), id, 1); err != nil {
					t.Fatal(err)
				}
			}
			want := func(generations ...int64) {
				t.Helper()
				got, err := told.Noted(t.Context(), []string{"a", "b"})
				if diff := cmp.Diff(generations, got); diff != "" || err != nil {
					t.Errorf("at %s (-want +got):\n%s %v", clock.Now(), diff, err)
				}
			}
			note("a")
			if shared, ok := told.(*ToldShared); ok {
				if got := server.Do("TTL", shared.key(span(clock.Now()))); got == "-1" || got == "-2" {
					t.Errorf("Redis keeps the hash for ever, or not at all: %s", got)
				}
			}
			clock.Advance(time.Hour)
			note("b")
			want(1, 1)
			clock.Advance(time.Minute)
			want(0, 1)
			clock.Advance(2 * time.Hour)
			want(0, 0)
		})
	}
}
