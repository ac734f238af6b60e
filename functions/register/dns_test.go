package register

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/functions/register/clouddns"
	"github.com/isectech/service-networking/functions/register/clouddns/clouddnstest"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/registry/zone"
	"github.com/isectech/service-networking/shared/store"
)

const (
	backendName = "backend.internal.isectech.com."
	terraform   = "postgres.internal.isectech.com."
)

// zoned is the fixture with a zone to keep in step, which holds a record of somebody else's.
type zoned struct {
	*fixture
	zone *clouddnstest.Server
}

func newZoned(t *testing.T) *zoned {
	t.Helper()
	z := &zoned{fixture: newFixture(t), zone: clouddnstest.New()}
	t.Cleanup(z.zone.Close)
	z.zone.Put(zone.Set{Key: zone.Key{Name: terraform, Type: "A"}, TTL: 300, Data: []string{"10.0.0.10"}})
	z.service = z.another(t) // of RegistryChanged alone: others write the records
	return z
}

// another returns a further instance of the function. Its clock moves whenever it is read, as clocks do.
func (z *zoned) another(t *testing.T) *Service {
	t.Helper()
	vars := map[string]string{"DNS_ZONE": clouddnstest.Zone, "GOOGLE_CLOUD_PROJECT": clouddnstest.Project, "CLOUD_DNS_EMULATOR_HOST": z.zone.Address}
	var cfg Config
	if err := config.Load(func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, &cfg); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time {
		z.Clock.Advance(time.Microsecond)
		return z.Clock.Now()
	}
	s, err := New(cfg, Deps{
		Store: z.Store, Now: now, Logger: z.Logger(), Metrics: telemetry.NewMetrics(),
		Publisher: z.published, Told: NewToldHere(now), DNS: cfg.ManagedZone(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// register registers an instance at an address, and returns what was there before and what is after.
func (z *zoned) register(t *testing.T, id, url string) (before, after *store.Document) {
	t.Helper()
	if z.generation(t, id) != 0 {
		before = z.document(t, id)
	}
	z.Clock.Advance(time.Millisecond)
	body := strings.Replace(registration(id), `"url":"https://api.isectech.com","protocol":"https","port":443`, fmt.Sprintf(`"url":%q`, url), 1)
	if code := z.send(t, z.command(t, events.TypeRegister, id+url, body)); code != http.StatusNoContent {
		t.Fatalf("register %s: %d", id, code)
	}
	return before, z.document(t, id)
}

// tell delivers the event of a change to an instance of the function.
func (z *zoned) tell(t *testing.T, s *Service, before, after *store.Document) *httptest.ResponseRecorder {
	t.Helper()
	r, err := eventstest.Written("e", before, after, z.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.Changes().ServeHTTP(w, r)
	return w
}

func (z *zoned) told(t *testing.T, before, after *store.Document) {
	t.Helper()
	if w := z.tell(t, z.service, before, after); w.Code != http.StatusNoContent {
		t.Fatalf("event: %d %s", w.Code, w.Body)
	}
}

func (z *zoned) sweep(t *testing.T) {
	t.Helper()
	if err := z.service.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// want checks the addresses of the backend.
func (z *zoned) want(t *testing.T, addresses ...string) {
	t.Helper()
	if diff := cmp.Diff(addresses, z.zone.Data(backendName, "A")); diff != "" {
		t.Errorf("addresses of %s (-want +got):\n%s", backendName, diff)
	}
	// A set that a change deleted is back in that very change, or is wanted no more.
	for i, c := range z.zone.Changes() {
		for _, d := range c.Deletions {
			if len(addresses) > 0 && d.Name == backendName && !slices.ContainsFunc(c.Additions, func(a zone.Set) bool { return a.Key == d.Key }) {
				t.Errorf("change %d leaves %s without its %s", i, d.Name, d.Type)
			}
		}
	}
	if got := z.zone.Data(terraform, "A"); len(got) != 1 {
		t.Errorf("somebody else's record: %v", got)
	}
}

func TestZoneFollowsChanges(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	first, second := "backend-services-001", "backend-services-002"
	z.told(t, nil, func() *store.Document { _, d := z.register(t, first, "http://10.0.0.1:8080"); return d }())
	z.want(t, "10.0.0.1")
	if got := z.zone.Data("_api._tcp."+backendName, "SRV"); !cmp.Equal(got, []string{"0 1 8080 ip-10-0-0-1." + backendName}) {
		t.Errorf("service records: %v", got)
	}
	if got := z.zone.Data("backend-services.internal.isectech.com.", "A"); len(got) != 1 {
		t.Errorf("the other alias: %v", got)
	}
	_, added := z.register(t, second, "http://10.0.0.2:8080")
	z.told(t, nil, added)
	z.want(t, "10.0.0.1", "10.0.0.2")
	before, moved := z.register(t, second, "http://10.0.0.3:8080")
	made := len(z.zone.Changes())
	z.told(t, before, moved)
	z.told(t, before, moved) // twice, and late
	z.told(t, nil, added)
	z.want(t, "10.0.0.1", "10.0.0.3")
	if got := len(z.zone.Changes()) - made; got != 2 {
		t.Errorf("%d changes for two aliases", got)
	}
	for _, id := range []string{first, second} {
		was := z.document(t, id)
		z.send(t, z.command(t, events.TypeUnregister, "u"+id, named(id)))
		z.told(t, was, &store.Document{Ref: was.Ref, Generation: was.Generation + 1, UpdatedAt: z.Clock.Now(), UpdatedBy: backend, Deleted: true, Head: "h"})
	}
	if got := z.zone.Sets(); len(got) != 1 || got[0].Name != terraform {
		t.Errorf("left over: %v", got)
	}
}

// What time changes no event tells: the sweep brings it into the zone.
func TestZoneSwept(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	ghost := "ghost.internal.isectech.com."
	z.zone.Put(zone.Set{Key: zone.Key{Name: ghost, Type: "A"}, TTL: 30, Data: []string{"10.0.0.9"}})
	z.zone.Put(zone.Set{Key: zone.Key{Name: "_isectech." + ghost, Type: "TXT"}, TTL: 30, Data: []string{`"heritage=isectech environment=production types=A"`}})
	z.register(t, "backend-services-001", "http://10.0.0.1:8080") // of which the event is lost
	z.sweep(t)
	z.want(t, "10.0.0.1")
	if got := z.zone.Data(ghost, "A"); got != nil {
		t.Errorf("an alias of no service is still there: %v", got)
	}
	made := len(z.zone.Changes())
	z.sweep(t)
	if got := len(z.zone.Changes()); got != made {
		t.Errorf("%d changes of nothing", got-made)
	}
	z.Clock.Advance(89 * time.Second)
	z.sweep(t)
	z.want(t, "10.0.0.1")
	z.Clock.Advance(2 * time.Second)
	z.sweep(t)
	z.want(t)
}

func TestZoneInQuarantine(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	_, doc := z.register(t, "backend-services-001", "http://10.0.0.1:8080")
	z.told(t, nil, doc)
	z.want(t, "10.0.0.1")
	end := z.Clock.Now().Add(10 * time.Second)
	_, err := z.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: trust.QuarantineRef(auth.MustSubject(backend)), Data: trust.Quarantine{Reason: "r", Actor: "test", Since: z.Clock.Now()}, ExpiresAt: end},
	}})
	if err != nil {
		t.Fatal(err)
	}
	z.Clock.Advance(2 * time.Second)
	z.sweep(t)
	z.want(t)
	z.Clock.Advance(10 * time.Second)
	z.sweep(t)
	if got := z.zone.Data(backendName, "A"); len(got) != 1 {
		t.Errorf("after the quarantine: %v", got)
	}
}

func TestZoneConflicts(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	_, doc := z.register(t, "backend-services-001", "http://10.0.0.1:8080")
	// Somebody makes records of their own between the reading and the change: they stay, the rest is published.
	z.zone.BeforeNext(func() {
		for _, name := range []string{backendName, "backend-services.internal.isectech.com."} {
			z.zone.Put(zone.Set{Key: zone.Key{Name: name, Type: "A"}, TTL: 300, Data: []string{"10.9.9.9"}})
		}
	})
	z.told(t, nil, doc)
	z.want(t, "10.9.9.9")
	if got := z.zone.Data("_api._tcp."+backendName, "SRV"); len(got) != 1 {
		t.Errorf("service records: %v", got)
	}
	if !strings.Contains(z.Logs.String(), "records of the zone are not the registry's") {
		t.Error("nobody is told of the records that are in the way")
	}
}

func TestZoneUnavailable(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	_, doc := z.register(t, "backend-services-001", "http://10.0.0.1:8080")
	for _, failures := range [][]int{{503}, {429}, {0, 503}, {409}, {0, 412, 0, 412, 0, 412, 0, 412}} {
		z.zone.Fail(failures...)
		w := z.tell(t, z.service, nil, doc)
		if want := failures[0] != 409; want != (w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "") {
			t.Errorf("%v: %d", failures, w.Code)
		}
	}
	if n := len(z.published.On(events.TopicRegistryChanges)); n != 5 {
		t.Errorf("told %d times: the zone keeps nobody from hearing", n)
	}
	z.told(t, nil, doc)
	z.want(t, "10.0.0.1")
	z.zone.Fail(403) // which no attempt of the event's mends, and each sweep tells of
	z.told(t, nil, doc)
	z.zone.Fail(403)
	if err := z.service.Sweep(t.Context()); err == nil {
		t.Error("the sweep says nothing of what it may not do")
	}
}

// Many changes at once, told to two instances of the function in any order, end in the same zone.
func TestZoneConcurrently(t *testing.T) {
	t.Parallel()
	z := newZoned(t)
	services := []*Service{z.service, z.another(t)}
	const instances = 12
	type change struct{ before, after *store.Document }
	var changes []change
	for i := range instances {
		_, doc := z.register(t, fmt.Sprintf("backend-services-%03d", i), fmt.Sprintf("http://10.0.1.%d:80", i))
		changes = append(changes, change{nil, doc})
	}
	var group sync.WaitGroup
	for i, c := range append(changes, changes...) {
		group.Go(func() {
			for range 50 {
				if z.tell(t, services[i%2], c.before, c.after).Code == http.StatusNoContent {
					return
				}
			}
			t.Errorf("change %d is never taken", i)
		})
	}
	group.Wait()
	if got := z.zone.Data(backendName, "A"); len(got) != instances {
		t.Errorf("%d addresses: %v", len(got), got)
	}
	z.want(t, z.zone.Data(backendName, "A")...)
}

func TestZoneConfiguration(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		vars map[string]string
		want string // of the error
	}{
		"none":                  {},
		"a zone":                {vars: map[string]string{"DNS_ZONE": "internal", "GOOGLE_CLOUD_PROJECT": "p"}},
		"no project":            {vars: map[string]string{"DNS_ZONE": "internal"}, want: "GOOGLE_CLOUD_PROJECT"},
		"no name":               {vars: map[string]string{"DNS_ZONE": "a/b", "GOOGLE_CLOUD_PROJECT": "p"}, want: "DNS_ZONE"},
		"too long":              {vars: map[string]string{"DNS_TTL": "301s"}, want: "DNS_TTL"},
		"a part of a second":    {vars: map[string]string{"DNS_TTL": "1500ms"}, want: "DNS_TTL"},
		"a stand-in elsewhere":  {vars: map[string]string{"CLOUD_DNS_EMULATOR_HOST": "10.0.0.1:80"}, want: "CLOUD_DNS_EMULATOR_HOST"},
		"a stand-in in service": {vars: map[string]string{"CLOUD_DNS_EMULATOR_HOST": "127.0.0.1:80", "K_SERVICE": "x"}, want: "CLOUD_DNS_EMULATOR_HOST"},
	} {
		var cfg Config
		err := config.Load(func(name string) (string, bool) { v, ok := tt.vars[name]; return v, ok }, &cfg)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want+":") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (cfg.ManagedZone() == nil) != (cfg.DNSZone == "") {
			t.Errorf("%s: zone %v", name, cfg.ManagedZone())
		}
	}
}

var _ DNS = (*clouddns.Zone)(nil)
