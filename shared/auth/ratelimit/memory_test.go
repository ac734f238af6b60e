package ratelimit

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

func clock() (now func() time.Time, advance func(time.Duration)) {
	var at atomic.Int64
	at.Store(time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC).UnixNano())
	return func() time.Time { return time.Unix(0, at.Load()) }, func(d time.Duration) { at.Add(int64(d)) }
}

// names are enough for a million callers, two at a time.
var names = func() (all [2048]auth.Subject) {
	for i := range all {
		all[i] = auth.MustSubject("s" + strconv.Itoa(i))
	}
	return all
}()

func caller(i int) Key {
	return Key{Caller: names[i%len(names)], Environment: auth.Production, Target: names[i/len(names)]}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	now, advance := clock()
	m := NewMemory(1000, now)
	l := Limit{2, time.Minute}
	take := func(k Key) bool { return m.Take(t.Context(), k, l).Allowed }
	other := Key{Caller: caller(1).Caller, Environment: auth.Development}
	edge := Key{Caller: caller(1).Caller, Environment: auth.Production, Target: caller(2).Caller}
	for _, k := range []Key{caller(1), other, edge} {
		passed := 0
		for range 5 {
			if take(k) {
				passed++
			}
		}
		if passed != 2 {
			t.Errorf("%s is let through %d times", k, passed)
		}
	}
	advance(30 * time.Second)
	if !take(other) || take(other) {
		t.Error("half a period gives not one more")
	}
	if d := m.Take(t.Context(), caller(1), Limit{}); !d.Allowed {
		t.Error("no limit refuses")
	}
}

// A million callers in a row take no more room than there is; whoever was refused before stays refused.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now, advance := clock()
	const room = 4096
	m := NewMemory(room, now)
	l := Limit{1, time.Minute}
	const early = 100
	for i := range early {
		m.Take(t.Context(), caller(i), l)
	}
	for i := range 1_000_000 {
		m.Take(t.Context(), caller(early+i), l)
	}
	if n := m.Len(); n > room {
		t.Errorf("%d callers are held", n)
	}
	for i := range early {
		if m.Take(t.Context(), caller(i), l).Allowed {
			t.Errorf("caller %d got in twice", i)
		}
	}
	advance(time.Minute)
	for i := range early {
		if !m.Take(t.Context(), caller(i), l).Allowed {
			t.Errorf("caller %d is kept out", i)
		}
	}
	for i := range 1000 { // newcomers find the room of those that are over
		if !m.Take(t.Context(), caller(2_000_000+i), l).Allowed {
			t.Fatalf("newcomer %d is kept out", i)
		}
	}
	if n := m.Len(); n > room {
		t.Errorf("%d callers are held", n)
	}
}

func TestMemoryAtOnce(t *testing.T) {
	t.Parallel()
	now, _ := clock()
	m := NewMemory(1000, now)
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				if m.Take(t.Context(), caller(1), Limit{50, time.Minute}).Allowed {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if passed.Load() != 50 {
		t.Errorf("%d were let through", passed.Load())
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	now, _ := clock()
	m := NewMemory(1000, now)
	k, l := caller(1), Limit{1000, time.Minute}
	m.Take(t.Context(), k, l)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { m.Take(ctx, k, l) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	m := NewMemory(1000, time.Now)
	k, l := Key{Caller: auth.MustSubject("isectech-frontend"), Environment: auth.Production}, Limit{1000, time.Minute}
	b.ReportAllocs()
	for b.Loop() {
		m.Take(b.Context(), k, l)
	}
}
