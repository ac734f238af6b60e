package registry

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// sizes are numbers of instances, three to a service.
var sizes = []int{100, 10_000, 100_000}

// world is a registry of many instances and the names of their services.
type world struct {
	cache *cache
	names onlyPrefix
	refs  []string
	ids   []string
}

var worlds = struct {
	sync.Mutex
	of map[int]*world
}{of: make(map[int]*world)}

func worldOf(b *testing.B, n int) *world {
	b.Helper()
	worlds.Lock()
	defer worlds.Unlock()
	if w := worlds.of[n]; w != nil {
		return w
	}
	w := &world{names: make(onlyPrefix)}
	var docs feed
	for i := range n {
		alias := fmt.Sprintf("svc%d", i/3)
		if i%3 == 0 {
			w.refs = append(w.refs, alias)
			w.names[alias] = auth.MustSubject("isectech-" + alias)
		}
		r := one(alias, i)
		w.ids = append(w.ids, r.ServiceID)
		docs = append(docs, documents(b, r, 1)...)
	}
	w.cache = newCache(docs, func(err error) { b.Error(err) })
	began := time.Now()
	if err := w.cache.refresh(context.Background(), noon); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d instances filled in %v", n, time.Since(began))
	worlds.of[n] = w
	return w
}

// scattered visits indexes below n in an order that caches do not guess.
func scattered(i, n int) int { return int(uint64(i) * 0x9E3779B97F4A7C15 >> 11 % uint64(n)) }

// BenchmarkSnapshotLookup looks an instance up by its id, beside a bare map lookup and an atomic add.
func BenchmarkSnapshotLookup(b *testing.B) {
	for _, n := range sizes {
		w := worldOf(b, n)
		bare := make(map[string]*entry)
		for e := range w.cache.current.Load().entries.all() {
			bare[e.ServiceID] = e
		}
		var count atomic.Uint64
		b.Run(fmt.Sprintf("bare/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if bare[w.ids[scattered(i, n)]] == nil {
					b.Fatal("gone")
				}
				count.Add(1)
			}
		})
		b.Run(fmt.Sprintf("snapshot/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if e, _ := w.cache.current.Load().entries.get(w.ids[scattered(i, n)]); e == nil {
					b.Fatal("gone")
				}
			}
		})
	}
}

// BenchmarkPick resolves an alias to an endpoint, beside a bare map lookup and an atomic add.
func BenchmarkPick(b *testing.B) {
	for _, n := range sizes {
		w := worldOf(b, n)
		bare := make(map[string]*atomic.Uint64)
		for _, ref := range w.refs {
			bare[ref] = new(atomic.Uint64)
		}
		v := w.cache.viewAt(noon)
		v.names = w.names
		for _, ref := range w.refs {
			if _, err := v.Resolve(auth.Production, ref, "api"); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("bare/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				bare[w.refs[scattered(i, len(w.refs))]].Add(1)
			}
		})
		b.Run(fmt.Sprintf("pick/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if _, err := v.Resolve(auth.Production, w.refs[scattered(i, len(w.refs))], "api"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPickOfOneService picks among all instances of one service.
func BenchmarkPickOfOneService(b *testing.B) {
	for _, n := range sizes {
		c := newCache(nil, func(err error) { b.Error(err) })
		for i := range n {
			c.applyOwn(documents(b, one("backend", i), 1), noon)
		}
		v := c.viewAt(noon)
		v.names = onlyPrefix{"backend": auth.MustSubject("isectech-backend")}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if _, err := v.Resolve(auth.Production, "backend", "api"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkChange takes in one registration that changes an instance, without its decoding from JSON;
// BenchmarkHeartbeat, one renewed lease.
func BenchmarkChange(b *testing.B) {
	for _, n := range sizes {
		w := worldOf(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			next := *w.cache.current.Load()
			for i := range b.N {
				old, _ := next.entries.get(w.ids[scattered(i, n)])
				changed := *old
				changed.Status = []Status{Healthy, Unhealthy}[i%2]
				next.put(&changed)
			}
		})
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	for _, n := range sizes {
		w := worldOf(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			doc := documents(b, one("svc0", 0), 2)[1]
			for i := range b.N {
				doc.Generation = int64(i + 2)
				w.cache.mu.Lock()
				w.cache.applyAll(nil, noon)
				next := *w.cache.current.Load()
				w.cache.apply(&next, doc, noon)
				w.cache.mu.Unlock()
			}
		})
	}
}

// BenchmarkFill reads a registry for the first time, and reports what an instance takes in memory.
func BenchmarkFill(b *testing.B) {
	const n = 10_000
	var docs feed
	for i := range n {
		docs = append(docs, documents(b, one(fmt.Sprintf("svc%d", i/3), i), 1)...)
	}
	var before, after runtime.MemStats
	var last struct{ cache *cache }
	for range b.N {
		b.StopTimer()
		last.cache = nil
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		last.cache = newCache(docs, func(err error) { b.Error(err) })
		if err := last.cache.refresh(b.Context(), noon); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/n, "B/instance")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/instance")
	runtime.KeepAlive(last)
}
