package registry_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// overReal makes a registry over a store, in real time or in a bubble's.
func overReal(s store.Store, freshness time.Duration) *registry.Registry {
	return registry.New(registry.Options{
		Store: s, Names: func() registry.Names { return names{} }, Now: time.Now, AllowLoopback: true, MinInterval: time.Second,
		Freshness: freshness,
	})
}

// of returns a registration of another service's instance.
func of(service, id string) registry.Registration {
	return instance(id, func(r *registry.Registration) { r.ServiceName = service })
}

const frontend = "isectech-frontend"

// A thousand watchers cost the store as much as one, and a change wakes those whom it concerns.
func TestManyWatchers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, manyWatchers)
}

func manyWatchers(t *testing.T) {
	const watchers = 1000
	s := storetest.NewFaulty(storetest.New(t, time.Now))
	here, there := overReal(s, time.Second), overReal(s, time.Second)
	call := by(ops)
	mustRegister(t, there, call, instance("backend-services-001"))
	v, err := here.Whole(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type answer struct {
		told []string
		err  error
	}
	answers := make(chan answer, 2*watchers)
	watch := func(ref string, env auth.Environment, n int) {
		for range n {
			go func() {
				_, changes, err := here.Watch(ctx, v.Index(), ref, env, time.Hour)
				answers <- answer{told(changes), err}
			}()
		}
	}
	watch("backend", "", watchers/2)
	watch("isectech-backend-services", auth.Production, watchers/4)
	watch("", auth.Production, watchers/4)
	watch(frontend, auth.Production, 1)
	watch("no-such-service", "", 1)
	synctest.Wait()
	if got := here.Watching(); got.Watchers != watchers+2 {
		t.Fatalf("%d watchers", got.Watchers)
	}

	// Where nothing happens, time passes at the price of one look for all.
	before := s.Calls(storetest.CallChanges)
	<-time.After(time.Minute)
	synctest.Wait()
	if got := s.Calls(storetest.CallChanges) - before; got < 60 || got > 150 { // records and leases
		t.Errorf("a minute took %d readings of the store", got)
	}
	if got := here.Watching(); got.Wakeups != 0 || len(answers) != 0 {
		t.Errorf("for nothing, %d were woken and %d answered", got.Wakeups, len(answers))
	}

	// What concerns one, from another process and from this.
	mustRegister(t, there, call, of(frontend, "frontend-001"))
	<-time.After(3 * time.Second)
	synctest.Wait()
	if got := here.Watching(); got.Wakeups != 1+watchers/4 { // and those of its environment
		t.Errorf("a frontend in production woke %d", got.Wakeups)
	}
	for range 1 + watchers/4 {
		if diff := cmp.Diff(answer{told: []string{"created frontend-001"}}, <-answers, cmp.AllowUnexported(answer{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := here.Watching(); got.Watchers != 1+watchers*3/4 || len(answers) != 0 {
		t.Errorf("%d are left, %d answered", got.Watchers, len(answers))
	}
	was := here.Watching().Wakeups
	mustRegister(t, here, call, instance("backend-services-002"))
	for range watchers * 3 / 4 {
		if diff := cmp.Diff(answer{told: []string{"created backend-services-002"}}, <-answers, cmp.AllowUnexported(answer{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := here.Watching(); got.Watchers != 1 || got.Wakeups-was != watchers*3/4 {
		t.Errorf("%d are left, %d were woken", got.Watchers, got.Wakeups-was)
	}
	cancel()
	if got := <-answers; !errors.Is(got.err, context.Canceled) {
		t.Errorf("who left was told %v", got)
	}
	synctest.Wait()
	if got := here.Watching(); got.Watchers != 0 {
		t.Errorf("%d watch though they left", got.Watchers)
	}
}

// A burst of this process's own commits is a few looks at the store, and one answer to each watcher.
func TestWatchGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storetest.NewFaulty(storetest.New(t, time.Now))
		r := overReal(s, time.Second)
		mustRegister(t, r, by(ops), instance("backend-services-000"))
		v, err := r.Whole(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []registry.Change)
		go func() {
			_, changes, err := r.Watch(t.Context(), v.Index(), "backend", "", time.Minute)
			if err != nil {
				t.Error(err)
			}
			got <- changes
		}()
		synctest.Wait()
		before := s.Calls(storetest.CallChanges)
		for i := range 50 {
			mustRegister(t, r, by(ops), instance(fmt.Sprintf("backend-services-1%02d", i)))
		}
		if n := len(<-got); n != 50 {
			t.Errorf("told of %d at once", n)
		}
		if n := s.Calls(storetest.CallChanges) - before; n > 8 {
			t.Errorf("50 commits took %d readings", n)
		}
	})
}

// What the store could not say when it happened is told once it can.
func TestWatchOverAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := storetest.NewFaulty(storetest.New(t, time.Now))
		r := overReal(s, time.Second)
		mustRegister(t, r, by(ops), instance("backend-services-001"))
		v, err := r.Whole(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []string)
		go func() {
			_, changes, err := r.Watch(t.Context(), v.Index(), "backend", "", time.Hour)
			if err != nil {
				t.Error(err)
			}
			got <- told(changes)
		}()
		synctest.Wait()
		s.Fail(storetest.CallChanges, -1, store.ErrUnavailable)
		mustRegister(t, r, by(ops), instance("backend-services-002")) // committed, and how much came before it is not known
		<-time.After(time.Minute)
		synctest.Wait()
		if n := r.Watching().Wakeups; n != 0 {
			t.Errorf("%d wakes while nothing could be told", n)
		}
		s.Fail(storetest.CallChanges, 0, nil)
		if diff := cmp.Diff([]string{"created backend-services-002"}, <-got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// follower is a client that watches and keeps a copy, now at one process, now at another.
type follower struct {
	ref   string
	env   auth.Environment
	index int64
	have  map[string]int64
	seen  map[string]bool
	anew  int
}

func (f *follower) reset() { f.index, f.have, f.seen = 0, map[string]int64{}, map[string]bool{} }

// look watches once.
func (f *follower) look(ctx context.Context, r *registry.Registry, wait time.Duration) (news bool, err error) {
	v, changes, err := r.Watch(ctx, f.index, f.ref, f.env, wait)
	if errors.Is(err, registry.ErrTooOld) {
		f.reset()
		f.anew++
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, c := range changes {
		at := c.Instance.UpdatedAt.UnixMicro()
		key := fmt.Sprintf("%s %s at %d", c.Type, c.Instance.ServiceID, at)
		switch {
		case at <= f.index:
			return false, fmt.Errorf("%s is not after %d", key, f.index)
		case f.seen[key]:
			return false, fmt.Errorf("told twice: %s", key)
		case f.env != "" && c.Instance.Environment != f.env:
			return false, fmt.Errorf("another environment's: %s", key)
		}
		f.seen[key] = true
		if c.Type == registry.InstanceDeleted {
			delete(f.have, c.Instance.ServiceID)
		} else {
			f.have[c.Instance.ServiceID] = c.Instance.Generation
		}
	}
	f.index = max(f.index, v.Index())
	return len(changes) > 0, nil
}

// Whoever follows by index, at whichever process, whatever is written meanwhile and whoever restarts, is told of
// everything and of nothing twice.
func TestFollowersMissNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			followersMissNothing(t, seed)
		})
	}
}

func followersMissNothing(t *testing.T, seed uint64) {
	s := storetest.New(t, time.Now)
	var mu sync.RWMutex
	processes := []*registry.Registry{overReal(s, 2*time.Millisecond), overReal(s, 5*time.Millisecond)}
	process := func(i int) *registry.Registry {
		mu.RLock()
		defer mu.RUnlock()
		return processes[i%len(processes)]
	}
	var writing, following sync.WaitGroup
	done := make(chan struct{})
	for w := range 3 {
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		writing.Go(func() {
			for range 60 {
				n := rng.IntN(4)
				service, id := "isectech-backend-services", fmt.Sprintf("backend-services-%d%d", w, n)
				if rng.IntN(2) == 0 {
					service, id = frontend, fmt.Sprintf("frontend-%d%d", w, n)
				}
				r, err := process(rng.IntN(2)), error(nil)
				switch rng.IntN(3) {
				case 0:
					err = r.Unregister(t.Context(), by(ops), id)
				default:
					reg := of(service, id)
					reg.Tags = []string{fmt.Sprint("t", rng.IntN(1000))}
					if n == 3 && service == frontend {
						reg.Environment = auth.Staging
					}
					_, _, err = r.Register(t.Context(), by(ops), reg)
				}
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("writing %s: %v", id, err)
				}
				if rng.IntN(40) == 0 {
					mu.Lock()
					processes[rng.IntN(2)] = overReal(s, 2*time.Millisecond)
					mu.Unlock()
				}
			}
		})
	}
	followers := []*follower{{}, {ref: "backend"}, {env: auth.Staging}, {ref: frontend, env: auth.Production}, {ref: frontend, env: auth.Staging}}
	for i, f := range followers {
		f.reset()
		rng := rand.New(rand.NewPCG(seed, 100+uint64(i)))
		following.Go(func() {
			for {
				if _, err := f.look(t.Context(), process(rng.IntN(2)), 3*time.Millisecond); err != nil {
					t.Errorf("follower %d: %v", i, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writing.Wait()
	close(done)
	following.Wait()
	last := overReal(s, time.Nanosecond)
	for i, f := range followers {
		for news := true; news; {
			var err error
			if news, err = f.look(t.Context(), process(i), 20*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		_, truth, err := last.Watch(t.Context(), 0, f.ref, f.env, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int64{}
		for _, c := range truth {
			want[c.Instance.ServiceID] = c.Instance.Generation
		}
		if diff := cmp.Diff(want, f.have); diff != "" {
			t.Errorf("follower %d, after %d times anew (-want +got):\n%s", i, f.anew, diff)
		}
		if view(t, last).Tag(f.ref, f.env) != view(t, process(i)).Tag(f.ref, f.env) {
			t.Errorf("follower %d: two processes that have the same give it other tags", i)
		}
	}
}

// A tag stands for what there is of one service in one environment, and nothing else moves it.
func TestTag(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	call := by(ops)
	mustRegister(t, r, call, instance("backend-services-001"))
	tag := func(ref string, env auth.Environment) string { return view(t, r).Tag(ref, env) }
	mine, everyones := tag("backend", auth.Production), tag("", "")
	if mine != tag("isectech-backend-services", "") || mine != tag("", auth.Production) || mine == tag("backend", auth.Staging) || mine == tag(frontend, "") {
		t.Error("tags of the same differ, or of others do not")
	}
	mustRegister(t, r, call, of(frontend, "frontend-001"))
	if tag("backend", auth.Production) != mine || tag("", "") == everyones {
		t.Error("another service moves the tag, or does not where all are asked for")
	}
	tags := []string{"blue"}
	if _, err := r.Patch(t.Context(), call, "backend-services-001", registry.Patch{Tags: &tags}); err != nil {
		t.Fatal(err)
	}
	if tag("backend", auth.Production) == mine {
		t.Error("a change keeps the tag")
	}
	if err := r.Unregister(t.Context(), call, "frontend-001"); err != nil {
		t.Fatal(err)
	}
	if got, want := tag(frontend, ""), tag("no-such-service", ""); got != want {
		t.Errorf("of nothing: %s and %s", got, want)
	}
	f.clock.Advance(time.Minute)
	if got := view(t, f.registry()).Tag("", ""); got != tag("", "") {
		t.Error("another process that has the same has another tag")
	}
}
