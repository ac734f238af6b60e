package registry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// isolated are services in quarantine.
type isolated map[string]time.Time

func (i isolated) Isolated(service string) (time.Time, bool) {
	since, ok := i[service]
	return since, ok
}

func TestIsolation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	since := storetest.Start.Add(time.Second)
	var now registry.Isolation
	r := registry.New(registry.Options{
		Store: f.store, Names: func() registry.Names { return names{} }, Now: f.clock.Now, AllowLoopback: true,
		Isolation: func(context.Context) registry.Isolation { return now },
	})
	mustRegister(t, r, by(backend), instance("backend-services-1"))
	mustRegister(t, r, by(backend), instance("backend-services-2", func(reg *registry.Registration) {
		reg.Lease = registry.Duration(time.Second)
	}))
	front := principal("isectech-frontend", auth.Production)
	mustRegister(t, r, by(front), instance("frontend-1", func(reg *registry.Registration) { reg.ServiceName = "isectech-frontend" }))
	f.clock.Advance(time.Second)
	resolve := func(ref string) error {
		_, err := view(t, r).Resolve(auth.Production, ref, seed().Endpoints[0].Name)
		return err
	}
	before, _ := view(t, r).Instance("backend-services-1")
	if err := resolve("backend"); err != nil {
		t.Fatal(err)
	}

	now = isolated{"isectech-backend-services": since}
	for _, ref := range []string{"backend", "isectech-backend-services", "backend-services-1"} {
		err := resolve(ref)
		none, ok := errors.AsType[*registry.NoEndpointError](err)
		if !ok || !errors.Is(err, store.ErrNotFound) || len(none.Explanation.Excluded) == 0 {
			t.Fatalf("%s: %v", ref, err)
		}
		why := none.Explanation.Excluded[0]
		if why.ServiceID != "backend-services-1" || why.Reason != "quarantined" || !why.Since.Equal(since) || why.Remedy == "" {
			t.Errorf("%s: %+v", ref, why)
		}
	}
	v := view(t, r)
	seen, ok := v.Instance("backend-services-1")
	if !ok || seen.Status != registry.Quarantined || !seen.StatusSince.Equal(since) || seen.Generation != before.Generation {
		t.Errorf("seen as %+v", seen)
	}
	if seen.ETag() == before.ETag() {
		t.Errorf("both have the tag %s", seen.ETag())
	}
	if g, ok := registry.ParseIfMatch(seen.ETag()); !ok || g != seen.Generation {
		t.Errorf("%s as If-Match: %d %v", seen.ETag(), g, ok)
	}
	lapsed, _ := v.Instance("backend-services-2")
	if g, ok := registry.ParseIfMatch(lapsed.ETag()); !lapsed.Lapsed || !ok || g != lapsed.Generation {
		t.Errorf("%s as If-Match: %d %v", lapsed.ETag(), g, ok)
	}
	for _, tt := range []struct {
		filter registry.Filter
		want   []string
	}{
		{registry.Filter{Status: registry.Quarantined, Limit: 1}, []string{"backend-services-1"}},
		{registry.Filter{Status: registry.Healthy}, []string{"frontend-1"}},
		{registry.Filter{Status: registry.Healthy, Name: "backend"}, []string{}},
		{registry.Filter{Status: registry.Quarantined, Environment: auth.Production}, []string{"backend-services-1"}},
		{registry.Filter{Limit: 2}, []string{"backend-services-1", "backend-services-2", "frontend-1"}},
	} {
		if diff := cmp.Diff(tt.want, ids(t, v, tt.filter)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.filter, diff)
		}
	}
	if c := v.Counts(); c.Statuses[registry.Quarantined] != 2 || c.Statuses[registry.Healthy] != 1 {
		t.Errorf("counts %v", c.Statuses)
	}
	changes, err := v.ChangesSince(0, "backend", "")
	if err != nil || len(changes) != 2 || changes[0].Instance.Status != registry.Quarantined {
		t.Errorf("changes %+v, %v", changes, err)
	}

	now = nil
	if after, _ := view(t, r).Instance("backend-services-1"); cmp.Diff(before, after) != "" {
		t.Errorf("after it was lifted (-before +after):\n%s", cmp.Diff(before, after))
	}
	if err := resolve("backend"); err != nil {
		t.Errorf("after it was lifted: %v", err)
	}
}
