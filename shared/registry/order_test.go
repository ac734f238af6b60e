package registry_test

import (
	"errors"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/registry"
)

// A registration that was found to come in time is too late once the instance has lived and ended meanwhile.
func TestNothingComesBackBetweenTheLookAndTheCommit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.registry()
	slow := &between{Store: f.store}
	slow.do = func() {
		mustRegister(t, other, by(backend), instance("backend-services-1"))
		if err := other.Unregister(t.Context(), by(backend), "backend-services-1"); err != nil {
			t.Error(err)
		}
	}
	r := registry.New(registry.Options{Store: slow, Names: func() registry.Names { return names{} }, Now: f.clock.Now})
	command := registry.Call{By: backend, Cause: "slow", Once: "slow", OccurredAt: f.clock.Now()}
	f.clock.Advance(time.Second)
	if _, _, err := r.Register(t.Context(), command, instance("backend-services-1")); !errors.Is(err, registry.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	if _, ok := view(t, other).Instance("backend-services-1"); ok {
		t.Error("the instance is back")
	}
	// Asked for after the end, it is in time, at the generation that goes on.
	again := registry.Call{By: backend, Cause: "again", Once: "again", OccurredAt: f.clock.Now().Add(time.Second)}
	f.clock.Advance(2 * time.Second)
	if got, _, err := r.Register(t.Context(), again, instance("backend-services-1")); err != nil || got.Generation != 3 {
		t.Errorf("generation %d %v", got.Generation, err)
	}
}
