package redis_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// BenchmarkGet reads one record of 1 KiB: from the embedded store itself, and through the decorator with the
// record in Redis, in this process's memory, and with Redis out of reach.
func BenchmarkGet(b *testing.B) {
	record := map[string]any{"environment": "production", "service_id": "a"}
	for i := range 20 {
		record[fmt.Sprintf("field_%02d", i)] = "a value of about forty characters a field"
	}
	for name, tt := range map[string]struct {
		direct, down bool
		local        time.Duration
	}{
		"Inner":  {direct: true},
		"Redis":  {},
		"Local":  {local: time.Minute},
		"NoneUp": {down: true},
	} {
		b.Run(name, func(b *testing.B) {
			server := redistest.Start(b)
			if tt.down {
				server.Stop()
			}
			inner := storetest.New(b, time.Now)
			cached := rediscache.New(inner, open(b, server, redis.Options{}), rediscache.Options{
				Now: time.Now, Environments: environments, Bound: time.Minute, Local: tt.local,
			})
			var s store.Store = cached
			if tt.direct {
				s = inner
			}
			if _, err := s.Commit(b.Context(), store.Batch{
				Writes: []store.Write{{Ref: serviceA, Data: record}}, Actor: "bench", Cause: "bench",
			}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Get(b.Context(), serviceA); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIndex is the question whether anything has changed, as a reader asks it on every request.
func BenchmarkIndex(b *testing.B) {
	server := redistest.Start(b)
	s := rediscache.New(storetest.New(b, time.Now), open(b, server, redis.Options{}), rediscache.Options{Now: time.Now, Environments: environments})
	server.Do("SET", "registry:production:index", "1767528002000000")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Index(b.Context(), "production"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkObserve is what one change costs in Redis, in a feed of so many.
func BenchmarkObserve(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			server := redistest.Start(b)
			s := rediscache.New(storetest.New(b, time.Now), open(b, server, roomy()), rediscache.Options{Now: time.Now, Environments: environments})
			at := time.Now()
			doc := func(i int) store.Document {
				return store.Document{
					Ref: store.Ref{Collection: store.Services, ID: fmt.Sprintf("s-%d", i%size)}, Generation: int64(i + 1),
					UpdatedAt: at.Add(time.Duration(i) * time.Microsecond), Data: json.RawMessage(`{"environment":"production"}`),
				}
			}
			i := 0
			for ; i < size; i++ {
				if err := s.Observe(b.Context(), doc(i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Observe(b.Context(), doc(i)); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
