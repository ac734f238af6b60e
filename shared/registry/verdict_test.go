package registry_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
)

// A verdict counts for what was probed, and from the prober alone.
func TestVerdict(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	first := mustRegister(t, r, by(backend), instance("backend-services-1", func(reg *registry.Registration) { reg.HealthCheck.Enabled = true }))
	prober := principal(registry.ProberName, auth.Production)
	healthy := registry.Verdict{Status: registry.Healthy, Reason: "GET /health: 200"}
	call := func(by auth.Principal, generation int64) registry.Call {
		return registry.Call{By: by, Cause: "a probe", IfMatch: generation}
	}
	for name, tt := range map[string]struct {
		call    registry.Call
		id      string
		verdict registry.Verdict
		want    error
	}{
		"by the owner":         {call(backend, 1), "backend-services-1", healthy, registry.ErrNotOwner},
		"of no generation":     {call(prober, 0), "backend-services-1", healthy, store.ErrInvalid},
		"of any generation":    {call(prober, registry.AnyGeneration), "backend-services-1", healthy, store.ErrInvalid},
		"of another":           {call(prober, 2), "backend-services-1", healthy, registry.ErrPrecondition},
		"of nobody":            {call(prober, 1), "backend-services-2", healthy, store.ErrNotFound},
		"that is a decision":   {call(prober, 1), "backend-services-1", registry.Verdict{Status: registry.Maintenance}, registry.ErrTransition},
		"with a long reason":   {call(prober, 1), "backend-services-1", registry.Verdict{Status: registry.Healthy, Reason: strings.Repeat("x", 257)}, registry.ErrInvalid},
		"with a hidden reason": {call(prober, 1), "backend-services-1", registry.Verdict{Status: registry.Healthy, Reason: "a\x1b[31mb"}, registry.ErrInvalid},
	} {
		if _, err := r.Verdict(t.Context(), tt.call, tt.id, tt.verdict); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	got, err := r.Verdict(t.Context(), call(prober, 1), "backend-services-1", healthy)
	if err != nil || got.Status != registry.Healthy || got.StatusReason != healthy.Reason || got.Generation != first.Generation+1 {
		t.Fatalf("%+v %v", got, err)
	}
	seen, ok := view(t, r).Instance("backend-services-1")
	if !ok || seen.StatusReason != healthy.Reason {
		t.Errorf("readers see %+v", seen)
	}
	// The same verdict again, fenced by the new generation, writes nothing.
	if again, err := r.Verdict(t.Context(), call(prober, 2), "backend-services-1", healthy); err != nil || again.Generation != 2 {
		t.Errorf("again: %+v %v", again, err)
	}
}

// A verdict asks for nothing: a registration that was sent before it still counts.
func TestVerdictsHoldUpNoCommand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	mustRegister(t, r, by(backend), instance("backend-services-1", func(reg *registry.Registration) { reg.HealthCheck.Enabled = true }))
	f.clock.Advance(1e9)
	sent := f.clock.Now()
	f.clock.Advance(1e9)
	verdict := registry.Call{By: principal(registry.ProberName, auth.Production), Cause: "a probe", IfMatch: 1}
	if _, err := r.Verdict(t.Context(), verdict, "backend-services-1", registry.Verdict{Status: registry.Healthy}); err != nil {
		t.Fatal(err)
	}
	command := registry.Call{By: backend, Cause: "a command", Once: "once", OccurredAt: sent}
	got, outcome, err := r.Register(t.Context(), command, instance("backend-services-1", func(reg *registry.Registration) {
		reg.HealthCheck.Enabled, reg.Version = true, "9.0.0"
	}))
	if err != nil || outcome != registry.Updated || got.Version != "9.0.0" || got.Status != registry.Healthy {
		t.Errorf("%s %+v %v", outcome, got, err)
	}
	if err := r.Unregister(t.Context(), registry.Call{By: backend, Cause: "late", Once: "twice", OccurredAt: sent.Add(-1e6)}, "backend-services-1"); !errors.Is(err, registry.ErrStale) {
		t.Errorf("an end asked for before the registration: %v", err)
	}
	weight := 3
	if _, err := r.Patch(t.Context(), by(backend), "backend-services-1", registry.Patch{Weight: &weight}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Register(t.Context(), registry.Call{By: backend, Cause: "2", Once: "2", OccurredAt: sent.Add(1e6)}, instance("backend-services-1")); !errors.Is(err, registry.ErrStale) {
		t.Errorf("a registration asked for before the patch: %v", err)
	}
	if err := r.Unregister(t.Context(), registry.Call{By: backend, Cause: "3", Once: "3", OccurredAt: sent.Add(1e6)}, "backend-services-1"); err != nil {
		t.Errorf("an end asked for before the patch: %v", err)
	}
}
