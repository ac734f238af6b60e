package redis_test

import (
	"os"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

var environments = []string{"production", "staging", "development"}

// open returns a client of a server that ends with the test.
func open(t testing.TB, s *redistest.Server, o redis.Options) *redis.Client {
	t.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	c, err := redis.Open(s.URL(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestStore holds the decorator to the store's suite, whatever its Redis goes through meanwhile.
func TestStore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		long    bool // only where the tests may take long: LONG=1
		local   time.Duration
		trouble func(t *testing.T, s *redistest.Server)
	}{
		"Up":          {},
		"UpWithLocal": {long: true, local: time.Minute},
		"NeverThere":  {trouble: func(_ *testing.T, s *redistest.Server) { s.Stop() }},
		"StoppedAndStarted": {trouble: func(t *testing.T, s *redistest.Server) {
			every(t, 150*time.Millisecond, func(i int) {
				if i%2 == 0 {
					s.Stop()
				} else {
					s.Start()
				}
			})
		}},
		"Slow": {trouble: func(t *testing.T, s *redistest.Server) {
			every(t, 25*time.Millisecond, func(i int) {
				if i%2 == 0 {
					s.Pause()
				} else {
					s.Resume()
				}
			})
		}},
		"Frozen":  {long: true, trouble: func(_ *testing.T, s *redistest.Server) { s.Pause() }},
		"Flushed": {local: time.Minute, trouble: func(t *testing.T, s *redistest.Server) { every(t, time.Millisecond, func(int) { s.Flush() }) }},
		"Garbage": {trouble: func(t *testing.T, s *redistest.Server) {
			every(t, time.Millisecond, func(i int) {
				for _, key := range s.Keys() {
					s.Garbage(key, i)
				}
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.long && os.Getenv("LONG") == "" {
				t.Skip("what it adds to the others is little: only with LONG=1")
			}
			t.Parallel()
			storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
				server := redistest.Start(t)
				if tt.trouble != nil {
					tt.trouble(t, server)
				}
				// Short, so that the suite is about what happens when Redis does not answer, rather than about waiting.
				client := open(t, server, redis.Options{
					ReadTimeout: 5 * time.Millisecond, WriteTimeout: 10 * time.Millisecond, Cooldown: 50 * time.Millisecond,
				})
				return rediscache.New(storetest.New(t, now), client, rediscache.Options{
					Now: now, Environments: environments, Local: tt.local,
				})
			})
		})
	}
}

// every does something again and again until the test ends.
func every(t *testing.T, interval time.Duration, do func(i int)) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ticker.C:
				do(i)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}
