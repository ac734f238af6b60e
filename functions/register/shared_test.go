package register

import (
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// Each commit must show in the version, also while Redis cannot say when the last one was: in the first second of
// a feed, and while others commit.
func TestVersion(t *testing.T) {
	t.Parallel()
	cache, err := redis.Open(redistest.Start(t).URL(), redis.Options{
		Now: time.Now, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, ConnectTimeout: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	environments := []string{"production", "staging"}
	records := rediscache.New(storetest.New(t, time.Now), cache, rediscache.Options{Now: time.Now, Environments: environments})
	last, ok := version(t.Context(), records, environments)
	if again, still := version(t.Context(), records, environments); !ok || !still || again != last {
		t.Errorf("of a registry that nothing happens in: %q %t, then %q %t", last, ok, again, still)
	}
	for i := range 5 {
		if _, err := records.Commit(t.Context(), store.Batch{
			Writes: []store.Write{{
				Ref:  store.Ref{Collection: store.Services, ID: "backend-services-001"},
				Data: map[string]any{"environment": "production", "version": i},
			}},
			Actor: "test", Cause: "test",
		}); err != nil {
			t.Fatal(err)
		}
		now, known := version(t.Context(), records, environments)
		if ok && known && now == last {
			t.Fatalf("after commit %d the version is still %q", i, now)
		}
		last, ok = now, known
	}
}
