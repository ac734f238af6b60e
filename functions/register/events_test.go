package register

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store"
)

const backend = "isectech-backend-services"

// fixture is the function's entry points for events over a platform.
type fixture struct {
	*platformtest.Platform
	service   *Service
	http      http.Handler
	commands  http.Handler
	changes   http.Handler
	published *eventstest.Recorder
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{Platform: platformtest.New(t), published: new(eventstest.Recorder)}
	var cfg Config
	if err := config.Load(func(string) (string, bool) { return "", false }, &cfg); err != nil {
		t.Fatal(err)
	}
	var err error
	f.service, err = New(cfg, Deps{
		Store: f.Store, Now: f.Clock.Now, Logger: f.Logger(), Metrics: telemetry.NewMetrics(),
		Publisher: f.published, Told: NewToldHere(f.Clock.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.http, f.commands, f.changes = f.service.Handler(), f.service.Commands(), f.service.Changes()
	return f
}

// command returns a command of the backend's.
func (f *fixture) command(t testing.TB, kind, id, data string) events.Event {
	t.Helper()
	return events.Event{
		ID: id, Source: "//isectech.com/services/backend-services", Type: kind, Time: f.Clock.Now(),
		Data: []byte(data), ContentType: "application/json", Auth: f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover),
	}
}

// send delivers a command as Pub/Sub's push does, and returns the answer's status.
func (f *fixture) send(t testing.TB, e events.Event) int {
	t.Helper()
	r, err := eventstest.Eventarc(events.TopicRegistryCommands, e, "m-"+e.ID, f.Clock.Now())
	if err != nil {
		t.Error(err)
		return 0
	}
	return deliver(f.commands, r)
}

func deliver(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func registration(id string) string {
	return fmt.Sprintf(`{"service_id":%q,"service_name":%q,"version":"1.0.0","environment":"production",
		"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443}]}`, id, backend)
}

func named(id string) string { return fmt.Sprintf(`{"service_id":%q}`, id) }

// generation returns the generation of an instance, 0 where there is none.
func (f *fixture) generation(t *testing.T, id string) int64 {
	t.Helper()
	doc, err := f.Store.Get(t.Context(), store.Ref{Collection: store.Services, ID: id})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return doc.Generation
}

func TestCommands(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	register := f.command(t, events.TypeRegister, "1", registration("backend-services-001"))
	if code := f.send(t, register); code != http.StatusNoContent || f.generation(t, "backend-services-001") != 1 {
		t.Fatalf("register: %d, generation %d", code, f.generation(t, "backend-services-001"))
	}
	f.Clock.Advance(60 * time.Second)
	if code := f.send(t, f.command(t, events.TypeHeartbeat, "2", named("backend-services-001"))); code != http.StatusNoContent {
		t.Fatalf("heartbeat: %d", code)
	}
	lease, err := f.Store.Get(t.Context(), store.Ref{Collection: store.Leases, ID: "backend-services-001"})
	if err != nil || lease.Generation != 2 {
		t.Errorf("lease %+v %v", lease, err)
	}
	if code := f.send(t, f.command(t, events.TypeUnregister, "3", named("backend-services-001"))); code != http.StatusNoContent {
		t.Fatalf("unregister: %d", code)
	}
	// The first once more brings nothing back, and is not delivered again.
	if code := f.send(t, register); code != http.StatusNoContent || f.generation(t, "backend-services-001") != 0 {
		t.Errorf("a register overtaken: %d, generation %d", code, f.generation(t, "backend-services-001"))
	}
	entries, err := store.Entries(t.Context(), f.Store, "services/backend-services-001", 0, 10)
	if err != nil || len(entries) != 2 || entries[0].Cause != register.Cause() || entries[0].Actor != backend {
		t.Errorf("journal %+v %v", entries, err)
	}
}

// An unregister command that comes before the register command that it is to undo waits for it, though not for
// ever, and one that has been handled does not wait.
func TestUnregisterBeforeRegister(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	register := f.command(t, events.TypeRegister, "1", registration("backend-services-001"))
	unknown := f.command(t, events.TypeUnregister, "2", named("backend-services-002"))
	f.Clock.Advance(time.Second)
	unregister := f.command(t, events.TypeUnregister, "3", named("backend-services-001"))
	for i, step := range []struct {
		event events.Event
		code  int
	}{
		{unregister, http.StatusServiceUnavailable},
		{unknown, http.StatusServiceUnavailable},
		{register, http.StatusNoContent},
		{unregister, http.StatusNoContent},
		{unregister, http.StatusNoContent},
		{register, http.StatusNoContent},
	} {
		if code := f.send(t, step.event); code != step.code {
			t.Errorf("step %d, event %s: %d, want %d", i, step.event.ID, code, step.code)
		}
	}
	if g := f.generation(t, "backend-services-001"); g != 0 {
		t.Errorf("the instance is there, at generation %d", g)
	}
	f.Clock.Advance(registerGrace)
	if code := f.send(t, unknown); code != http.StatusNoContent {
		t.Errorf("of an instance that nobody registers: %d", code)
	}
}

func TestCommandsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	edit := func(id string, change func(*events.Event)) events.Event {
		e := f.command(t, events.TypeRegister, id, registration("backend-services-001"))
		change(&e)
		return e
	}
	platform := auth.PlatformAudience
	for name, tc := range map[string]struct {
		event    events.Event
		incident string // type of the security event; "": none
	}{
		"no credential":     {edit("1", func(e *events.Event) { e.Auth = "" }), "com.isectech.security.auth_failed.v1"},
		"a bad credential":  {edit("2", func(e *events.Event) { e.Auth = "x.y.z" }), "com.isectech.security.auth_failed.v1"},
		"another audience":  {edit("3", func(e *events.Event) { e.Auth = f.Token(t, backend, "isectech-admin", auth.APIRead) }), "com.isectech.security.auth_failed.v1"},
		"another service":   {edit("4", func(e *events.Event) { e.Auth = f.Token(t, "isectech-frontend", platform, auth.ServiceDiscover) }), "com.isectech.security.scope_violation.v1"},
		"a scope too few":   {edit("5", func(e *events.Event) { e.Auth = f.Token(t, backend, platform, auth.APIRead) }), "com.isectech.security.scope_violation.v1"},
		"poison":            {edit("6", func(e *events.Event) { e.Data = []byte(`{"service_id":1}`) }), ""},
		"an invalid record": {edit("7", func(e *events.Event) { e.Data = []byte(registration("admin-1")) }), ""},
		"no such command":   {edit("8", func(e *events.Event) { e.Type = "com.isectech.registry.explode.v1" }), ""},
		"too old":           {edit("9", func(e *events.Event) { e.Time = f.Clock.Now().Add(-time.Hour) }), ""},
		"nothing to renew":  {edit("10", func(e *events.Event) { e.Type, e.Data = events.TypeHeartbeat, []byte(named("backend-services-404")) }), ""},
	} {
		before := len(f.published.On(events.TopicSecurityEvents))
		if code := f.send(t, tc.event); code != http.StatusNoContent {
			t.Errorf("%s: %d, want 204: no other attempt can mend it", name, code)
		}
		incidents := f.published.On(events.TopicSecurityEvents)[before:]
		switch {
		case tc.incident == "" && len(incidents) != 0:
			t.Errorf("%s: reported as %s", name, incidents[0].Type)
		case tc.incident != "" && (len(incidents) != 1 || incidents[0].Type != tc.incident):
			t.Errorf("%s: reported %+v, want one %s", name, incidents, tc.incident)
		}
	}
	if f.generation(t, "backend-services-001") != 0 {
		t.Error("a refused command had an effect")
	}
	if strings.Contains(f.Logs.String(), "x.y.z") {
		t.Error("a credential stands in the log")
	}
}

// TestThousandEvents delivers events of which some come twice, some out of order and some are poison: what
// remains is what each distinct one asked for.
func TestThousandEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dice := rand.New(rand.NewPCG(1, 2))
	const distinct = 1000
	var queue []events.Event
	for i := range distinct {
		e := f.command(t, events.TypeRegister, fmt.Sprintf("e-%d", i), registration(fmt.Sprintf("backend-services-%04d", i)))
		e.Auth = queueToken(t, f, queue)
		if i%100 == 7 {
			e.Data = []byte(`{"poison":true}`)
		}
		queue = append(queue, e)
		if dice.IntN(100) < 30 {
			queue = append(queue, e)
		}
	}
	for i := range queue {
		if dice.IntN(100) < 20 {
			j := dice.IntN(len(queue))
			queue[i], queue[j] = queue[j], queue[i]
		}
	}
	work := make(chan events.Event)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for e := range work {
				// As Pub/Sub would, though not for ever.
				code := f.send(t, e)
				for range 20 {
					if code == http.StatusNoContent {
						break
					}
					code = f.send(t, e)
				}
				if code != http.StatusNoContent {
					t.Errorf("event %s: %d to the end", e.ID, code)
				}
			}
		})
	}
	for _, e := range queue {
		work <- e
	}
	close(work)
	group.Wait()
	for i := range distinct {
		want := int64(1)
		if i%100 == 7 {
			want = 0
		}
		if got := f.generation(t, fmt.Sprintf("backend-services-%04d", i)); got != want {
			t.Errorf("event %d: generation %d, want %d", i, got, want)
		}
	}
	report, err := store.Verify(t.Context(), f.Store, f.Clock.Now())
	if err != nil || !report.Clean() {
		t.Errorf("journal: %v %v", report.Faults, err)
	}
}

// queueToken reuses the first event's token: signing a thousand takes longer than all the rest.
func queueToken(t *testing.T, f *fixture, queue []events.Event) string {
	t.Helper()
	if len(queue) > 0 {
		return queue[0].Auth
	}
	return f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover)
}

// document returns a stored instance.
func (f *fixture) document(t testing.TB, id string) *store.Document {
	t.Helper()
	doc, err := f.Store.Get(t.Context(), store.Ref{Collection: store.Services, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return &doc
}

func TestChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.send(t, f.command(t, events.TypeRegister, "1", registration("backend-services-001")))
	first := f.document(t, "backend-services-001")
	changed := func(id string, before, after *store.Document) int {
		r, err := eventstest.Written(id, before, after, f.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		return deliver(f.changes, r)
	}
	tombstone := &store.Document{Ref: first.Ref, Generation: 2, UpdatedAt: f.Clock.Now(), UpdatedBy: backend, Deleted: true, Head: "h"}
	f.published.Fail(1, events.ErrUnavailable)
	if code := changed("c0", nil, first); code != http.StatusServiceUnavailable {
		t.Errorf("while nothing can be published: %d", code)
	}
	for _, code := range []int{changed("c1", nil, first), changed("c1", nil, first), changed("c2", first, tombstone)} {
		if code != http.StatusNoContent {
			t.Errorf("got %d", code)
		}
	}
	var got []string
	for _, e := range f.published.On(events.TopicRegistryChanges) {
		var data struct {
			ServiceID   string `json:"service_id"`
			ServiceName string `json:"service_name"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil || data.ServiceName != backend || data.ServiceID != e.Subject {
			t.Errorf("data %s %v", e.Data, err)
		}
		got = append(got, e.Type+" "+e.ID+" "+e.Source)
	}
	source := " //isectech.com/functions/RegistryChanged"
	want := []string{
		events.TypeServiceCreated + " backend-services-001@1" + source,
		events.TypeServiceCreated + " backend-services-001@1" + source, // delivered twice, told under one id
		events.TypeServiceDeleted + " backend-services-001@2" + source,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestSweepTellsWhatWasLost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 3 {
		f.send(t, f.command(t, events.TypeRegister, fmt.Sprint(i), registration(fmt.Sprintf("backend-services-00%d", i))))
	}
	r, err := eventstest.Written("c1", nil, f.document(t, "backend-services-001"), f.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	deliver(f.changes, r)
	tick := func() []string {
		t.Helper()
		before := len(f.published.On(events.TopicRegistryChanges))
		r, err := eventstest.Eventarc(events.TopicHealthTicks, events.Event{Data: []byte("tick")}, "tick", f.Clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		if code := deliver(f.changes, r); code != http.StatusNoContent {
			t.Fatalf("tick: %d", code)
		}
		var ids []string
		for _, e := range f.published.On(events.TopicRegistryChanges)[before:] {
			ids = append(ids, e.Type[strings.LastIndex(e.Type, "service."):]+" "+e.ID)
		}
		return ids
	}
	if got := tick(); got != nil {
		t.Errorf("told what is still on its way: %v", got)
	}
	f.Clock.Advance(time.Minute)
	want := []string{"service.created.v1 backend-services-000@1", "service.created.v1 backend-services-002@1"}
	if diff := cmp.Diff(want, tick()); diff != "" {
		t.Errorf("told late (-want +got):\n%s", diff)
	}
	if got := tick(); got != nil {
		t.Errorf("told again: %v", got)
	}
	f.send(t, f.command(t, events.TypeUnregister, "u", named("backend-services-000")))
	f.Clock.Advance(time.Minute)
	if diff := cmp.Diff([]string{"service.deleted.v1 backend-services-000@2"}, tick()); diff != "" {
		t.Errorf("told late (-want +got):\n%s", diff)
	}
	again := registration("backend-services-000")
	f.send(t, f.command(t, events.TypeRegister, "again", again))
	f.Clock.Advance(time.Minute)
	if diff := cmp.Diff([]string{"service.created.v1 backend-services-000@3"}, tick()); diff != "" {
		t.Errorf("told late of one that came back (-want +got):\n%s", diff)
	}
	f.send(t, f.command(t, events.TypeRegister, "changed", strings.Replace(again, "1.0.0", "1.0.1", 1)))
	f.Clock.Advance(time.Minute)
	if diff := cmp.Diff([]string{"service.updated.v1 backend-services-000@4"}, tick()); diff != "" {
		t.Errorf("told late of a change (-want +got):\n%s", diff)
	}
}

func TestChangesOfOtherThings(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := &store.Document{
		Ref: store.Ref{Collection: store.Policies, ID: "current"}, Generation: 1, UpdatedAt: f.Clock.Now(), UpdatedBy: "x", Data: []byte(`{}`),
	}
	r, err := eventstest.Written("c1", nil, other, f.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if code := deliver(f.changes, r); code != http.StatusNoContent || len(f.published.All()) != 0 {
		t.Errorf("%d, %d events", code, len(f.published.All()))
	}
}
