package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// operation is one call in a history: what generation of a document it showed (0: absent), and when it began
// and ended, on one scale for all.
type operation struct {
	id         string
	commit     bool
	generation int64
	began      int64
	ended      int64
	by         string
}

// history records operations.
type history struct {
	clock atomic.Int64
	mu    sync.Mutex
	all   []operation
}

func (h *history) record(o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, o)
}

// check finds the readings that no order of the operations explains. Generations only grow, so that is simply:
// none shows less than an operation had shown that ended before it began, and none shows a generation before
// its commit began.
func (h *history) check(t *testing.T) {
	t.Helper()
	committed := map[string]map[int64]operation{}
	for _, o := range h.all {
		if o.commit {
			if committed[o.id] == nil {
				committed[o.id] = map[int64]operation{}
			}
			if twice, ok := committed[o.id][o.generation]; ok {
				t.Errorf("generation %d of %s was committed by %s and %s", o.generation, o.id, twice.by, o.by)
			}
			committed[o.id][o.generation] = o
		}
	}
	readings := 0
	for _, o := range h.all {
		if !o.commit {
			readings++
		}
		for _, before := range h.all {
			if before.id == o.id && before.ended < o.began && before.generation > o.generation {
				t.Errorf("%s had generation %d of %s after %s had generation %d", o.by, o.generation, o.id, before.by, before.generation)
				break
			}
		}
		if o.commit {
			continue
		}
		if c, ok := committed[o.id][o.generation]; o.generation > 0 && (!ok || c.began > o.ended) {
			t.Errorf("%s read generation %d of %s, which nobody had committed", o.by, o.generation, o.id)
		}
	}
	if readings == 0 {
		t.Error("nothing was read")
	}
}

// TestHistory has two processes' worth of decorators over one store and one Redis, with readers and writers on
// both. While Redis works, nobody ever goes back behind what anybody has been shown. Emptying Redis does not
// count as not working: nothing that is in it then is old.
func TestHistory(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(t *testing.T, s *redistest.Server){
		"Up":      nil,
		"Flushed": func(t *testing.T, s *redistest.Server) { every(t, time.Millisecond, func(int) { s.Flush() }) },
		"Garbage": func(t *testing.T, s *redistest.Server) {
			every(t, time.Millisecond, func(i int) {
				for _, key := range s.Keys() {
					s.Garbage(key, i)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			if trouble != nil {
				trouble(t, server)
			}
			runHistory(t, server)
		})
	}
}

func runHistory(t *testing.T, server *redistest.Server) {
	const processes, workers, steps = 2, 4, 400
	inner := storetest.New(t, time.Now)
	var h history
	var results results
	var group sync.WaitGroup
	for p := range processes {
		// A machine that is busy with other tests is not a Redis that does not answer.
		client := open(t, server, redis.Options{ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
		s := rediscache.New(inner, client, rediscache.Options{Now: time.Now, Environments: environments, Observe: results.count})
		for w := range workers {
			by := fmt.Sprintf("worker %d of process %d", w, p)
			random := rand.New(rand.NewPCG(uint64(p), uint64(w)))
			group.Go(func() {
				for range steps {
					if err := step(t.Context(), s, &h, by, random); err != nil {
						t.Errorf("%s: %v", by, err)
						return
					}
				}
			})
		}
	}
	group.Wait()
	h.check(t)
	t.Logf("%d operations, %s", len(h.all), &results)
	if results.of(rediscache.Hit) == 0 {
		t.Error("nothing was read from Redis")
	}
}

// step makes one call and records it.
func step(ctx context.Context, s *rediscache.Store, h *history, by string, random *rand.Rand) error {
	ref := store.Ref{Collection: store.Services, ID: fmt.Sprintf("s-%d", random.IntN(20))}
	o := operation{id: ref.ID, by: by, began: h.clock.Add(1)}
	switch n := random.IntN(100); {
	case n < 4:
		w := store.Write{Ref: ref, Data: map[string]any{"environment": "production", "by": by}}
		if n == 0 && random.IntN(4) == 0 {
			w.Data = nil
		}
		docs, err := s.Commit(ctx, store.Batch{Writes: []store.Write{w}, Actor: "test", Cause: "test"})
		if err != nil {
			return err
		}
		if docs[0].Generation == 0 {
			return nil // was gone already
		}
		o.commit, o.generation = true, docs[0].Generation
	case n < 30:
		docs, err := s.GetAll(ctx, []store.Ref{ref})
		if err != nil {
			return err
		}
		if docs[0].Generation == 0 {
			return nil
		}
		o.generation = docs[0].Generation
	default:
		doc, err := s.Get(ctx, ref)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		o.generation = doc.Generation
	}
	o.ended = h.clock.Add(1)
	h.record(o)
	return nil
}

// results counts what a decorator tells of its readings.
type results struct{ hit, miss, doubtful, bypassed, unavailable atomic.Int64 }

func (r *results) counter(result string) *atomic.Int64 {
	switch result {
	case rediscache.Hit:
		return &r.hit
	case rediscache.Miss:
		return &r.miss
	case rediscache.Doubtful:
		return &r.doubtful
	case rediscache.Bypassed:
		return &r.bypassed
	default:
		return &r.unavailable
	}
}

func (r *results) count(result string)    { r.counter(result).Add(1) }
func (r *results) of(result string) int64 { return r.counter(result).Load() }

// String says all counts.
func (r *results) String() string {
	return fmt.Sprintf("%d hits, %d misses, %d doubtful, %d bypassed, %d without Redis",
		r.hit.Load(), r.miss.Load(), r.doubtful.Load(), r.bypassed.Load(), r.unavailable.Load())
}
