package register

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// The tick removes what lapsed a day ago, in the name of the function, and what is in quarantine stays.
func TestTickRemovesLapsed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, id := range []string{"backend-services-001", "backend-services-002"} {
		if code := f.send(t, f.command(t, events.TypeRegister, id, registration(id))); code != http.StatusNoContent {
			t.Fatalf("register: %d", code)
		}
	}
	f.Clock.Advance(24*time.Hour + 80*time.Second)
	sweep := func() {
		t.Helper()
		if err := f.service.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if sweep(); f.generation(t, "backend-services-001") != 1 {
		t.Error("removed too early")
	}
	f.Clock.Advance(20 * time.Second)
	ref := trust.QuarantineRef(auth.MustSubject(backend))
	quarantine := func(data any) {
		t.Helper()
		_, err := f.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{{Ref: ref, Data: data}}})
		if err != nil {
			t.Fatal(err)
		}
		f.Clock.Advance(2 * time.Second)
	}
	quarantine(trust.Quarantine{Reason: "r", Actor: "test", Since: f.Clock.Now()})
	if sweep(); f.generation(t, "backend-services-001") != 1 {
		t.Error("removed out of quarantine")
	}
	quarantine(nil)
	for range 2 { // the second finds nothing to do
		sweep()
		f.Clock.Advance(2 * time.Second)
	}
	for _, id := range []string{"backend-services-001", "backend-services-002"} {
		last, err := store.LastEntry(t.Context(), f.Store, "services/"+id)
		if err != nil || last.Op != store.OpDelete || last.Sequence != 2 || last.Actor != Name || last.Cause != "sweep" {
			t.Errorf("%s: %+v %v", id, last, err)
		}
	}
	// The sweep that follows tells of it, where no event did.
	f.Clock.Advance(time.Minute)
	before := len(f.published.On(events.TopicRegistryChanges))
	sweep()
	if got := f.published.On(events.TopicRegistryChanges)[before:]; len(got) != 2 || got[0].Type != events.TypeServiceDeleted {
		t.Errorf("published %+v", got)
	}
}

// Without a store the tick fails, so that it comes again.
func TestTickWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	faulty := storetest.NewFaulty(f.Store)
	faulty.Fail(storetest.CallChanges, -1, store.ErrUnavailable)
	f.service.trust = trust.NewSource(faulty, f.Clock.Now)
	if err := f.service.sweepLapsed(t.Context(), f.Clock.Now()); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
