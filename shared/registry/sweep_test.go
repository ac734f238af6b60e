package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const retention = 24 * time.Hour

var sweeper = registry.Call{By: auth.Principal{Subject: auth.MustSubject("isectech-register")}, Cause: "sweep"}

func sweep(t *testing.T, r *registry.Registry, most int) []string {
	t.Helper()
	removed, err := r.Sweep(t.Context(), sweeper, retention, most)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, i := range removed {
		ids = append(ids, i.ServiceID)
	}
	return ids
}

func TestForgotten(t *testing.T) {
	t.Parallel()
	now := storetest.Start
	for name, tt := range map[string]struct {
		status registry.Status
		lease  time.Duration
		end    time.Time
		want   bool
	}{
		"a day ago":                {registry.Healthy, time.Minute, now.Add(-retention), true},
		"not quite":                {registry.Healthy, time.Minute, now.Add(-retention + time.Microsecond), false},
		"still held":               {registry.Healthy, time.Minute, now.Add(time.Second), false},
		"stopped and never back":   {registry.Stopping, time.Minute, now.Add(-retention), true},
		"unhealthy":                {registry.Unhealthy, time.Minute, now.Add(-retention), true},
		"in maintenance":           {registry.Maintenance, time.Minute, now.Add(-retention), false},
		"in quarantine":            {registry.Quarantined, time.Minute, now.Add(-retention), false},
		"without a lease":          {registry.Healthy, 0, time.Time{}, false},
		"without one, but an end ": {registry.Healthy, 0, now.Add(-2 * retention), false},
	} {
		record := registry.Record{Registration: registry.Registration{Lease: registry.Duration(tt.lease)}, Status: tt.status, LeaseEnd: tt.end}
		if got := registry.Forgotten(record, retention, now); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// What has lapsed is hidden at once and removed after a day, oldest first, so many at a time, with a journal entry
// that says by whom.
func TestSweep(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	call := by(ops)
	for i := range 3 {
		mustRegister(t, r, call, instance(fmt.Sprintf("backend-services-%d", 3-i)))
		f.clock.Advance(time.Second)
	}
	maintenance := registry.Patch{Status: registry.Maintenance}
	mustRegister(t, r, call, instance("backend-services-4"))
	if _, err := r.Patch(t.Context(), call, "backend-services-4", maintenance); err != nil {
		t.Fatal(err)
	}
	mustRegister(t, r, call, instance("backend-services-5", func(r *registry.Registration) { r.Lease = 0 }))
	mustRegister(t, r, call, instance("backend-services-6"))

	f.clock.Advance(retention + 90*time.Second - 4*time.Second) // the first has lapsed for a second less
	if _, err := r.Heartbeat(t.Context(), call, "backend-services-6"); err != nil {
		t.Fatal(err)
	}
	if got := sweep(t, r, 10); got != nil {
		t.Errorf("too early: %v", got)
	}
	f.clock.Advance(time.Second * 3)
	other := f.registry()
	if diff := cmp.Diff([]string{"backend-services-3", "backend-services-2"}, sweep(t, other, 2)); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"backend-services-1"}, sweep(t, other, 2)); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
	if got := sweep(t, other, 2); got != nil {
		t.Errorf("and then %v", got)
	}
	f.clock.Advance(2 * time.Second)
	var left []string
	for _, id := range []string{"1", "2", "3", "4", "5", "6"} {
		if _, ok := view(t, r).Instance("backend-services-" + id); ok {
			left = append(left, id)
		}
	}
	if diff := cmp.Diff([]string{"4", "5", "6"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	last, err := store.LastEntry(t.Context(), f.store, "services/backend-services-1")
	if err != nil || last.Actor != "isectech-register" || last.Cause != "sweep" || last.Op != store.OpDelete {
		t.Errorf("journal: %+v %v", last, err)
	}
	if _, err := f.store.Get(t.Context(), store.Ref{Collection: store.Leases, ID: "backend-services-1"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the lease: %v", err)
	}
	// Who comes back registers again.
	if _, err := r.Heartbeat(t.Context(), call, "backend-services-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("heartbeat: %v", err)
	}
	if got := mustRegister(t, r, call, instance("backend-services-1")); got.Status != registry.Healthy || got.Generation != 3 {
		t.Errorf("registered again: %+v", got)
	}
}

// between runs something between a sweep's look at an instance and its commit.
type between struct {
	store.Store
	once sync.Once
	do   func()
}

func (b *between) Commit(ctx context.Context, batch store.Batch) ([]store.Document, error) {
	b.once.Do(b.do)
	return b.Store.Commit(ctx, batch)
}

// Whatever comes between the look and the removal wins.
func TestSweepLosesToAnyone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status registry.Status // before it lapses; Stopping does not come back by a heartbeat
		do     func(*registry.Registry) error
		left   bool
	}{
		"a heartbeat": {"", func(r *registry.Registry) error {
			return second(r.Heartbeat(context.Background(), by(ops), "backend-services-1"))
		}, true},
		"a heartbeat while stopping": {registry.Stopping, func(r *registry.Registry) error {
			return second(r.Heartbeat(context.Background(), by(ops), "backend-services-1"))
		}, true},
		"a registration": {"", func(r *registry.Registry) error {
			_, _, err := r.Register(context.Background(), by(ops), instance("backend-services-1"))
			return err
		}, true},
		"an operator": {"", func(r *registry.Registry) error {
			return second(r.Patch(context.Background(), by(ops), "backend-services-1", registry.Patch{Status: registry.Maintenance}))
		}, true},
		"an unregistration": {"", func(r *registry.Registry) error {
			return r.Unregister(context.Background(), by(ops), "backend-services-1")
		}, false},
		"another sweep": {"", func(r *registry.Registry) error {
			return second(r.Sweep(context.Background(), sweeper, retention, 10))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			other := f.registry()
			mustRegister(t, other, by(ops), instance("backend-services-1"))
			if tt.status != "" {
				if _, err := other.Patch(t.Context(), by(ops), "backend-services-1", registry.Patch{Status: tt.status}); err != nil {
					t.Fatal(err)
				}
			}
			f.clock.Advance(retention + 2*time.Minute)
			f.store = &between{Store: f.store, do: func() {
				if err := tt.do(other); err != nil {
					t.Errorf("in between: %v", err)
				}
			}}
			if got := sweep(t, f.registry(), 10); got != nil {
				t.Errorf("removed %v", got)
			}
			f.clock.Advance(2 * time.Second)
			if _, ok := view(t, other).Instance("backend-services-1"); ok != tt.left {
				t.Errorf("left %t, want %t", ok, tt.left)
			}
			entries, err := store.Entries(t.Context(), f.store, "services/backend-services-1", 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(slices.DeleteFunc(entries, func(e store.Entry) bool { return e.Op != store.OpDelete })); n > 1 || n == 1 && tt.left {
				t.Errorf("%d removals in the journal", n)
			}
		})
	}
}

// Sweeps at once remove each record once; one that the store stops leaves the rest to the next.
func TestSweepsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	faulty := storetest.NewFaulty(f.store)
	f.store = faulty
	for i := range 20 {
		mustRegister(t, f.registry(), by(ops), instance(fmt.Sprintf("backend-services-%d", i)))
	}
	f.clock.Advance(retention + 2*time.Minute)
	faulty.Fail(storetest.CallCommit, 1, store.ErrUnavailable)
	if got, err := f.registry().Sweep(t.Context(), sweeper, retention, 10); !errors.Is(err, store.ErrUnavailable) || got != nil {
		t.Errorf("removed %d without a store: %v", len(got), err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	removed := map[string]int{}
	for range 4 {
		r := f.registry()
		all.Go(func() {
			for range 3 {
				got, err := r.Sweep(t.Context(), sweeper, retention, 10)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, i := range got {
					removed[i.ServiceID]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for id, n := range removed {
		if n != 1 {
			t.Errorf("%s was removed %d times", id, n)
		}
	}
	if len(removed) != 20 {
		t.Errorf("%d were removed", len(removed))
	}
}

// A service in quarantine keeps its records: they are what there is to look into.
func TestSweepLeavesQuarantine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mustRegister(t, f.registry(), by(ops), instance("backend-services-1"))
	f.clock.Advance(retention + 2*time.Minute)
	isolated := registry.New(registry.Options{
		Store: f.store, Names: func() registry.Names { return names{} }, Now: f.clock.Now,
		Isolation: func(context.Context) registry.Isolation { return everyone{} },
	})
	if got := sweep(t, isolated, 10); got != nil {
		t.Errorf("removed %v", got)
	}
}

// everyone is in quarantine.
type everyone struct{}

func (everyone) Isolated(string) (time.Time, bool) { return storetest.Start, true }
