package registry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
)

// told lists changes as type and id.
func told(changes []registry.Change) []string {
	var list []string
	for _, c := range changes {
		list = append(list, string(c.Type)+" "+c.Instance.ServiceID)
	}
	return list
}

func TestWatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	writer, reader := f.registry(), f.registry()
	view(t, writer) // what it knows of begins here, before the index that is watched from
	me := by(principal("isectech-backend-services", auth.Production))
	mustRegister(t, writer, me, instance("backend-services-001"))
	mustRegister(t, writer, me, instance("backend-services-002"))

	all, changes, err := reader.Watch(t.Context(), 0, "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"created backend-services-001", "created backend-services-002"}, told(changes)); diff != "" {
		t.Errorf("from the beginning (-want +got):\n%s", diff)
	}
	// Nothing new: it waits, and says so.
	if _, changes, err := reader.Watch(t.Context(), all.Index(), "", "", time.Millisecond); err != nil || changes != nil {
		t.Errorf("nothing new: %v %v", told(changes), err)
	}
	// A change in this process wakes the watcher; one that nobody watches does not answer it.
	woken := make(chan []string, 1)
	go func() {
		_, changes, err := writer.Watch(t.Context(), all.Index(), "backend", auth.Production, time.Minute)
		if err != nil {
			changes = nil
		}
		woken <- told(changes)
	}()
	tags := []string{"blue"}
	if _, err := writer.Patch(t.Context(), me, "backend-services-001", registry.Patch{Tags: &tags}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"updated backend-services-001"}, <-woken); diff != "" {
		t.Errorf("woken by (-want +got):\n%s", diff)
	}
	if err := writer.Unregister(t.Context(), me, "backend-services-002"); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(2 * time.Second) // the reader looks at the store again
	last, changes, err := reader.Watch(t.Context(), all.Index(), "isectech-backend-services", "", 0)
	if diff := cmp.Diff([]string{"updated backend-services-001", "deleted backend-services-002"}, told(changes)); diff != "" || err != nil {
		t.Errorf("what the other process did (-want +got):\n%s %v", diff, err)
	}
	if last.Index() <= all.Index() {
		t.Errorf("index %d is not after %d", last.Index(), all.Index())
	}
	if _, changes, _ := reader.Watch(t.Context(), all.Index(), "isectech-admin", "", 0); changes != nil {
		t.Errorf("another service's watcher was told %v", told(changes))
	}
	if _, changes, _ := reader.Watch(t.Context(), all.Index(), "", auth.Development, 0); changes != nil {
		t.Errorf("another environment's watcher was told %v", told(changes))
	}
}

func TestWatchTooOld(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	writer := f.registry()
	me := by(principal("isectech-backend-services", auth.Production))
	first := mustRegister(t, writer, me, instance("backend-services-001"))
	mustRegister(t, writer, me, instance("backend-services-002"))
	// What was removed before a process began to look, it cannot tell.
	if _, _, err := f.registry().Watch(t.Context(), first.UpdatedAt.UnixMicro(), "", "", 0); !errors.Is(err, registry.ErrTooOld) {
		t.Errorf("got %v, want ErrTooOld", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := writer.Watch(ctx, 1<<62, "", "", time.Minute); err == nil {
		t.Error("a watcher that left was answered")
	}
}

func TestEventsComeOnceAndInAnyOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	me := principal("isectech-backend-services", auth.Production)
	event := func(n int, at time.Duration) registry.Call {
		return registry.Call{By: me, Cause: fmt.Sprint("cause ", n), Once: fmt.Sprint("event ", n), OccurredAt: f.clock.Now().Add(at)}
	}
	register, unregister := event(1, 0), event(2, time.Second)
	mustRegister(t, r, register, instance("backend-services-001"))
	if err := r.Unregister(t.Context(), unregister, "backend-services-001"); err != nil {
		t.Fatal(err)
	}
	// The first again, and one asked for in between that comes late, bring nothing back.
	for _, late := range []registry.Call{register, event(3, time.Millisecond)} {
		if _, _, err := r.Register(t.Context(), late, instance("backend-services-001")); !errors.Is(err, registry.ErrStale) {
			t.Errorf("got %v, want ErrStale", err)
		}
	}
	if _, ok := view(t, r).Instance("backend-services-001"); ok {
		t.Error("the instance is back")
	}
	if _, _, err := r.Register(t.Context(), event(4, 2*time.Second), instance("backend-services-001")); err != nil {
		t.Errorf("a registration after the end: %v", err)
	}
}

func TestLateHeartbeatCountsFromWhenItWasSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	me := by(principal("isectech-backend-services", auth.Production))
	first := mustRegister(t, r, me, instance("backend-services-001")) // 90 s
	sent := f.clock.Now().Add(60 * time.Second)
	f.clock.Advance(80 * time.Second)
	late := me
	late.OccurredAt = sent
	got, err := r.Heartbeat(t.Context(), late, "backend-services-001")
	if err != nil {
		t.Fatal(err)
	}
	if want := first.LeaseExpiresAt.Add(60 * time.Second); !got.LeaseExpiresAt.Equal(want) {
		t.Errorf("lease ends %s, want %s", got.LeaseExpiresAt, want)
	}
}
