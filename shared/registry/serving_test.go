package registry_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// Serving yields those that Resolve chooses among, and nobody else.
func TestServing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var isolation registry.Isolation
	r := registry.New(registry.Options{
		Store: f.store, Names: func() registry.Names { return names{} }, Now: f.clock.Now, AllowLoopback: true,
		Isolation: func(context.Context) registry.Isolation { return isolation },
	})
	noCheck := func(reg *registry.Registration) { reg.HealthCheck, reg.Lease = registry.HealthCheck{}, 0 }
	for id, change := range map[string]func(*registry.Registration){
		"backend-services-1": func(*registry.Registration) {},
		"backend-services-2": func(reg *registry.Registration) { reg.Weight = 7 },
		"backend-services-3": func(reg *registry.Registration) { reg.Weight = 0 },
		"backend-services-4": func(reg *registry.Registration) { reg.Lease = registry.Duration(time.Second) },
		"backend-services-5": func(reg *registry.Registration) {
			reg.HealthCheck = registry.HealthCheck{Enabled: true, Interval: registry.Duration(30 * time.Second)}
		},
		"backend-services-6": func(*registry.Registration) {}, // put in maintenance below
	} {
		mustRegister(t, r, by(backend), instance(id, noCheck, change))
	}
	development := principal("isectech-backend-services", auth.Development)
	mustRegister(t, r, by(development), instance("backend-services-7", noCheck, func(reg *registry.Registration) { reg.Environment = auth.Development }))
	if _, err := r.Patch(t.Context(), by(backend), "backend-services-6", registry.Patch{Status: registry.Maintenance}); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(time.Second)
	serving := func(env auth.Environment, name string) (found []string) {
		for i := range view(t, r).Serving(env, name) {
			found = append(found, i.ServiceID)
		}
		return found
	}
	var chosen []string
	for range 100 {
		c, err := view(t, r).Resolve(auth.Production, "isectech-backend-services", seed().Endpoints[0].Name)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(chosen, c.ServiceID) {
			chosen = append(chosen, c.ServiceID)
		}
	}
	slices.Sort(chosen)
	got := serving(auth.Production, "isectech-backend-services")
	if diff := cmp.Diff(chosen, got); diff != "" || len(got) != 2 {
		t.Errorf("(-chosen +serving):\n%s", diff)
	}
	for i := range view(t, r).Serving(auth.Production, "isectech-backend-services") {
		if i.ServiceID != "backend-services-1" {
			t.Errorf("yields %s after it was told to stop", i.ServiceID)
		}
		break
	}
	if got := serving(auth.Development, "isectech-backend-services"); !cmp.Equal(got, []string{"backend-services-7"}) {
		t.Errorf("in development: %v", got)
	}
	if got := slices.Concat(serving(auth.Staging, "isectech-backend-services"), serving(auth.Production, "nobody"), serving("x", "isectech-backend-services")); got != nil {
		t.Errorf("where nobody is: %v", got)
	}
	isolation = isolated{"isectech-backend-services": storetest.Start}
	if got := serving(auth.Production, "isectech-backend-services"); got != nil {
		t.Errorf("in quarantine: %v", got)
	}
}
