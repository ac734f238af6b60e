package registry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
)

// TestExplainChoice takes a service through what can be said of its choices: who may be chosen, how often, and why
// this one was.
func TestExplainChoice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	checked := func(reg *registry.Registration) {
		reg.HealthCheck = registry.HealthCheck{Enabled: true}
		reg.Lease = 0
	}
	prober := registry.Call{By: auth.Principal{Subject: auth.MustSubject(registry.ProberName), Environment: auth.Production}, Cause: "a probe"}
	verdict := func(id string, s registry.Status) {
		t.Helper()
		i, ok := view(t, r).Instance(id)
		if !ok {
			t.Fatalf("there is no %s", id)
		}
		call := prober
		call.IfMatch = i.Generation
		if _, err := r.Verdict(t.Context(), call, id, registry.Verdict{Status: s, Reason: "GET https://api.isectech.com/health: 503"}); err != nil {
			t.Fatal(err)
		}
	}
	mustRegister(t, r, by(backend), instance("backend-services-1", checked, func(reg *registry.Registration) { reg.Weight = 3 }))
	mustRegister(t, r, by(backend), instance("backend-services-2", checked))
	mustRegister(t, r, by(backend), instance("backend-services-3", checked))
	explain := func() registry.Explanation {
		t.Helper()
		v := view(t, r)
		c, err := v.Resolve(auth.Production, "backend", "api")
		if err != nil {
			t.Fatal(err)
		}
		x := v.ExplainChoice(auth.Production, "backend", "api", c)
		if x.Chosen != c.ServiceID {
			t.Errorf("%s was chosen, not %s", c.ServiceID, x.Chosen)
		}
		return x
	}
	verdict("backend-services-1", registry.Degraded)
	verdict("backend-services-2", registry.Unhealthy)
	x := explain()
	want := []registry.Candidate{{ServiceID: "backend-services-1", Status: registry.Degraded, Weight: 3, Share: 1}}
	if diff := cmp.Diff(want, x.Candidates); diff != "" || x.Chosen != "backend-services-1" || !strings.HasPrefix(x.Why, "none is healthy") {
		t.Errorf("%s because %s (-want +got):\n%s", x.Chosen, x.Why, diff)
	}
	if len(x.Excluded) != 2 || x.Excluded[0].Detail != "it is unhealthy since "+f.clock.Now().UTC().Format(time.RFC3339)+": GET https://api.isectech.com/health: 503" ||
		x.Excluded[1].Reason != "starting" {
		t.Errorf("left out: %+v", x.Excluded)
	}
	verdict("backend-services-2", registry.Healthy)
	verdict("backend-services-3", registry.Healthy)
	x = explain()
	want = []registry.Candidate{
		{ServiceID: "backend-services-1", Status: registry.Degraded, Weight: 3},
		{ServiceID: "backend-services-2", Status: registry.Healthy, Weight: 1, Share: 0.5},
		{ServiceID: "backend-services-3", Status: registry.Healthy, Weight: 1, Share: 0.5},
	}
	if diff := cmp.Diff(want, x.Candidates); diff != "" || !strings.Contains(x.Why, "those that are healthy, 2") {
		t.Errorf("because %s (-want +got):\n%s", x.Why, diff)
	}
	v := view(t, r)
	c, err := v.Resolve(auth.Production, "backend-services-1", "api")
	if err != nil {
		t.Fatal(err)
	}
	x = v.ExplainChoice(auth.Production, "backend-services-1", "api", c)
	if x.Chosen != "backend-services-1" || x.Why == "" || len(x.Candidates) != 1 || x.Candidates[0].Share != 1 || x.ServiceName != "isectech-backend-services" {
		t.Errorf("by id: %+v", x)
	}
}
