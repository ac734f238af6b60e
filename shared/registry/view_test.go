package registry_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// ids lists all instances that a filter lets through, page by page.
func ids(t testing.TB, v registry.View, f registry.Filter) []string {
	t.Helper()
	list := []string{}
	for {
		page, err := v.List(f)
		if err != nil {
			t.Fatalf("listing %+v: %v", f, err)
		}
		for _, i := range page.Instances {
			list = append(list, i.ServiceID)
		}
		if page.Next == "" {
			return list
		}
		f.PageToken = page.Next
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	for i := range 5 {
		mustRegister(t, r, by(backend), instance(fmt.Sprintf("backend-services-%d", i), func(reg *registry.Registration) {
			reg.Version = fmt.Sprint(i % 2)
			reg.Region = []string{"us-central1", "europe-west1"}[i%2]
			reg.Tags = []string{"all", fmt.Sprintf("t%d", i)}
			if i == 4 {
				reg.Lease = registry.Duration(time.Second)
			}
		}))
	}
	dev := principal("isectech-backend-services", auth.Development)
	mustRegister(t, r, by(dev), instance("backend-services-dev", func(reg *registry.Registration) { reg.Environment = auth.Development }))
	mustRegister(t, r, by(principal("isectech-frontend", auth.Production)), instance("frontend-1", func(reg *registry.Registration) {
		reg.ServiceName, reg.HealthCheck.Enabled = "isectech-frontend", true
	}))
	f.clock.Advance(time.Second) // ends the lease of backend-services-4
	v := view(t, r)
	all := []string{"backend-services-0", "backend-services-1", "backend-services-2", "backend-services-3", "backend-services-4", "backend-services-dev", "frontend-1"}
	for _, tt := range []struct {
		filter registry.Filter
		want   []string
	}{
		{registry.Filter{}, all},
		{registry.Filter{Limit: 1}, all},
		{registry.Filter{Limit: 3}, all},
		{registry.Filter{Limit: 7}, all},
		{registry.Filter{Limit: 500}, all},
		{registry.Filter{Name: "isectech-backend-services"}, all[:6]},
		{registry.Filter{Name: "backend", Limit: 2}, all[:6]},
		{registry.Filter{Name: "nobody"}, []string{}},
		{registry.Filter{Name: "backend-services-1"}, []string{}},
		{registry.Filter{Environment: auth.Development}, all[5:6]},
		{registry.Filter{Environment: auth.Staging}, []string{}},
		{registry.Filter{Region: "europe-west1"}, []string{all[1], all[3]}},
		{registry.Filter{Version: "0", Limit: 1}, []string{all[0], all[2], all[4]}},
		{registry.Filter{Tags: []string{"t2"}}, all[2:3]},
		{registry.Filter{Tags: []string{"all"}, Region: "us-central1", Limit: 1}, []string{all[0], all[2], all[4]}},
		{registry.Filter{Status: registry.Healthy}, []string{all[0], all[1], all[2], all[3], all[5]}},
		{registry.Filter{Status: registry.Starting}, all[6:]},
		{registry.Filter{Status: registry.Quarantined}, []string{}},
		{registry.Filter{Name: "backend", Environment: auth.Production, Status: registry.Healthy, Region: "us-central1", Version: "0", Tags: []string{"all"}}, []string{all[0], all[2]}},
	} {
		if diff := cmp.Diff(tt.want, ids(t, v, tt.filter)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.filter, diff)
		}
	}
	for _, f := range []registry.Filter{{Limit: -1}, {Limit: 501}, {Status: "well"}, {Environment: "prod"}, {PageToken: "x"}} {
		if _, err := v.List(f); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	want := registry.Counts{Total: 7, Lapsed: 1, Statuses: map[registry.Status]int{
		registry.Healthy: 6, registry.Starting: 1, registry.Degraded: 0, registry.Unhealthy: 0,
		registry.Stopping: 0, registry.Maintenance: 0, registry.Quarantined: 0,
	}}
	if diff := cmp.Diff(want, v.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestPagesStandStillWhileOthersMove(t *testing.T) {
	t.Parallel()
	r := newFixture(t).registry()
	for i := range 9 {
		mustRegister(t, r, by(backend), instance(fmt.Sprintf("backend-services-%d", i)))
	}
	page, err := view(t, r).List(registry.Filter{Limit: 3})
	if err != nil || len(page.Instances) != 3 {
		t.Fatal(err)
	}
	for _, id := range []string{"backend-services-0", "backend-services-2"} { // given already; the cursor's among them
		if err := r.Unregister(t.Context(), by(backend), id); err != nil {
			t.Fatal(err)
		}
	}
	mustRegister(t, r, by(backend), instance("backend-services-00"))
	got := ids(t, view(t, r), registry.Filter{Limit: 3, PageToken: page.Next})
	want := []string{"backend-services-3", "backend-services-4", "backend-services-5", "backend-services-6", "backend-services-7", "backend-services-8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rest of the list (-want +got):\n%s", diff)
	}
	if _, err := view(t, r).List(registry.Filter{Limit: 3, Tags: []string{"x"}, PageToken: page.Next}); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("the token of another question: %v", err)
	}
}

func FuzzPageToken(f *testing.F) {
	fix := newFixture(f)
	r := fix.registry()
	for i := range 3 {
		mustRegister(f, r, by(backend), instance(fmt.Sprintf("backend-services-%d", i)))
	}
	v := view(f, r)
	page, err := v.List(registry.Filter{Limit: 1})
	if err != nil {
		f.Fatal(err)
	}
	for _, token := range []string{page.Next, "", "AQ", "AQ==", strings.Repeat("A", 200), page.Next + "=", page.Next[:len(page.Next)-1], "\x00"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		page, err := v.List(registry.Filter{Limit: 1, PageToken: token})
		if err != nil {
			if !errors.Is(err, registry.ErrInvalid) {
				t.Fatalf("token %q: %v", token, err)
			}
			return
		}
		if len(page.Instances) > 1 || page.Next != "" && page.Next == token {
			t.Fatalf("token %q gives %+v", token, page)
		}
	})
}

func TestETags(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int64{"": 0, "*": registry.AnyGeneration, `"7"`: 7, `"7-lapsed"`: 7} {
		if got, ok := registry.ParseIfMatch(header); got != want || !ok {
			t.Errorf("ParseIfMatch(%q) = %d, %t", header, got, ok)
		}
	}
	if got, ok := registry.ParseIfMatch(" \"7\" "); got != 7 || !ok {
		t.Errorf("with spaces around it: %d, %t", got, ok)
	}
	for _, header := range []string{`W/"7"`, `"7", "8"`, `7`, `"0"`, `"-1"`, `"+7"`, `"07"`, `"x"`, `""`, `"`, `"99999999999999999999"`} {
		if got, ok := registry.ParseIfMatch(header); ok {
			t.Errorf("ParseIfMatch(%q) = %d", header, got)
		}
	}
	a := []registry.Instance{{Generation: 1}, {Generation: 2}}
	b := []registry.Instance{{Generation: 1}, {Generation: 2, Lapsed: true}}
	if registry.ETagOf(a, "") == registry.ETagOf(b, "") || registry.ETagOf(a, "") == registry.ETagOf(a, "x") || registry.ETagOf(a, "") != registry.ETagOf(slices.Clone(a), "") {
		t.Error("tags of lists do not tell them apart")
	}
}

// faulty returns a registry over a store that fails when told to.
func faulty(t *testing.T) (*fixture, *storetest.Faulty, *registry.Registry) {
	t.Helper()
	f := newFixture(t)
	broken := storetest.NewFaulty(f.store)
	return f, broken, registry.New(registry.Options{
		Store: broken, Names: func() registry.Names { return names{} }, Now: f.clock.Now, MaxStale: time.Minute,
	})
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	f, broken, r := faulty(t)
	reads := func() int { return broken.Calls(storetest.CallChanges) }
	view(t, r)
	if reads() != 2 {
		t.Fatalf("the first view read %d times, want both collections once", reads())
	}
	for range 10 {
		view(t, r)
	}
	f.clock.Advance(999 * time.Millisecond)
	if v := view(t, r); reads() != 2 || v.Age() != 999*time.Millisecond {
		t.Errorf("within a second: %d reads, age %v", reads(), v.Age())
	}
	other := f.registry()
	mustRegister(t, other, by(backend), instance("backend-services-1"))
	f.clock.Advance(time.Millisecond)
	if v := view(t, r); reads() != 4 || v.Age() != 0 || v.Len() != 1 || v.Index() == 0 {
		t.Errorf("after a second: %d reads, age %v, %d instances, index %d", reads(), v.Age(), v.Len(), v.Index())
	}
	f.clock.Advance(-time.Hour)
	if view(t, r); reads() != 6 {
		t.Errorf("after the clock was set back: %d reads, want 6", reads())
	}
}

func TestStaleIfError(t *testing.T) {
	t.Parallel()
	f, broken, r := faulty(t)
	broken.Fail(storetest.CallChanges, -1, store.ErrUnavailable)
	if _, err := r.View(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("nothing has been read, and the view is %v", err)
	}
	broken.Fail(storetest.CallChanges, 0, nil)
	f.clock.Advance(time.Second)
	mustRegister(t, r, by(backend), instance("backend-services-1", func(reg *registry.Registration) { reg.Lease = 0 }))
	view(t, r)
	broken.Fail(storetest.CallChanges, -1, errors.New("disk on fire"))
	tries := broken.Calls(storetest.CallChanges)
	for i := range 60 {
		f.clock.Advance(time.Second)
		for range 5 {
			v := view(t, r)
			if _, err := v.Resolve(auth.Production, "backend", "api"); err != nil || v.Age() != time.Duration(i+1)*time.Second {
				t.Fatalf("second %d: age %v, %v", i, v.Age(), err)
			}
		}
	}
	if n := broken.Calls(storetest.CallChanges) - tries; n != 60 {
		t.Errorf("%d tries in 60 seconds of absence, want one a second", n)
	}
	f.clock.Advance(time.Second)
	if _, err := r.View(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("beyond the bound the view is %v", err)
	}
	broken.Fail(storetest.CallChanges, 0, nil)
	f.clock.Advance(time.Second)
	if v := view(t, r); v.Age() != 0 || v.Len() != 1 {
		t.Errorf("after the store is back: age %v, %d instances", v.Age(), v.Len())
	}
}

func TestOneReaderRefreshesForAll(t *testing.T) {
	t.Parallel()
	_, broken, r := faulty(t)
	release := make(chan struct{})
	broken.Hold(storetest.CallChanges, release)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := r.View(t.Context()); err != nil {
				t.Errorf("view: %v", err)
			}
		})
	}
	for broken.Calls(storetest.CallChanges) == 0 {
		runtime.Gosched() // the others need not have arrived: whoever comes later finds it fresh
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.View(impatient); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a reader that did not wait got %v", err)
	}
	close(release)
	wg.Wait()
	if n := broken.Calls(storetest.CallChanges); n != 2 {
		t.Errorf("%d reads for 20 readers, want 2", n)
	}
}

// TestNobodyElseWaitsInAnOutage has one reader try a store that failed before and now hangs. The other
// one is served at once; if it waited, this test would not end.
func TestNobodyElseWaitsInAnOutage(t *testing.T) {
	t.Parallel()
	f, broken, r := faulty(t)
	view(t, r)
	broken.Fail(storetest.CallChanges, 1, store.ErrUnavailable)
	f.clock.Advance(time.Second)
	view(t, r)
	f.clock.Advance(time.Second)
	release, tries := make(chan struct{}), broken.Calls(storetest.CallChanges)
	broken.Hold(storetest.CallChanges, release)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = r.View(t.Context()) })
	for broken.Calls(storetest.CallChanges) == tries {
		runtime.Gosched()
	}
	if v := view(t, r); v.Age() != 2*time.Second {
		t.Errorf("age %v", v.Age())
	}
	close(release)
	wg.Wait()
}

func TestLostAnswerIsSeenAllTheSame(t *testing.T) {
	t.Parallel()
	f, broken, r := faulty(t)
	view(t, r)
	broken.LoseAnswer(1, store.ErrUnavailable)
	if _, _, err := r.Register(t.Context(), by(backend), instance("backend-services-1")); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("registered: %v", err)
	}
	if _, outcome, err := r.Register(t.Context(), by(backend), instance("backend-services-1")); err != nil || outcome != registry.Unchanged {
		t.Errorf("registered again: %s, %v", outcome, err)
	}
	f.clock.Advance(time.Second)
	if !resolves(view(t, r), "backend") {
		t.Error("it is not found")
	}
}

func TestUnreadableRecordHidesOnlyItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var reported []error
	r := registry.New(registry.Options{
		Store: f.store, Names: func() registry.Names { return names{} }, Now: f.clock.Now,
		OnError: func(err error) { reported = append(reported, err) },
	})
	mustRegister(t, r, by(backend), instance("backend-services-1"))
	_, err := f.store.Commit(t.Context(), store.Batch{Actor: "x", Cause: "x", Writes: []store.Write{
		{Ref: store.Ref{Collection: store.Services, ID: "backend-services-2"}, Data: map[string]any{"service_id": "other", "status": "healthy"}},
		{Ref: store.Ref{Collection: store.Services, ID: "backend-services-3"}, Data: map[string]any{"tags": 1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if v := view(t, r); v.Len() != 1 || len(reported) != 2 || !errors.Is(errors.Join(reported...), store.ErrCorrupt) {
		t.Errorf("%d instances, reported %v", v.Len(), reported)
	}
	if err := r.Unregister(t.Context(), by(backend), "backend-services-3"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("changing it: %v", err)
	}
}

// naive is the registry read from the store without any cache.
func naive(t *testing.T, s store.Store, now time.Time) []registry.Instance {
	t.Helper()
	var list []registry.Instance
	page, err := s.Query(t.Context(), store.Query{Collection: store.Services, Limit: 500})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range page.Documents {
		var rec registry.Record
		if err := doc.Decode(&rec); err != nil {
			t.Fatal(err)
		}
		i := registry.Instance{
			Registration: rec.Registration, Status: rec.Status, StatusSince: rec.StatusSince, RegisteredAt: rec.RegisteredAt,
			Generation: doc.Generation, UpdatedAt: doc.UpdatedAt,
		}
		if rec.Lease != 0 {
			lease, err := s.Get(t.Context(), store.Ref{Collection: store.Leases, ID: doc.Ref.ID})
			if err != nil {
				t.Fatal(err)
			}
			var data struct {
				EndsAt int64 `json:"ends_at_us"`
			}
			if err := lease.Decode(&data); err != nil {
				t.Fatal(err)
			}
			end := time.UnixMicro(data.EndsAt).UTC()
			i.LeaseExpiresAt, i.Lapsed = &end, !end.After(now)
		}
		list = append(list, i)
	}
	return list
}

// TestRegistriesConverge lets two registries write to one store at random and holds both, after every
// step, to what the store says: the writer at once, the other after a second.
func TestRegistriesConverge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		registries := []*registry.Registry{f.registry(), f.registry()}
		anID := rapid.SampledFrom([]string{"backend-services-1", "backend-services-2", "backend-services-3", "backend-services-4"})
		check := func(rt *rapid.T, who *registry.Registry) {
			v := view(t, who)
			want := naive(t, f.store, f.clock.Now())
			var all []registry.Instance
			for _, id := range ids(t, v, registry.Filter{Limit: 2}) {
				i, ok := v.Instance(id)
				if !ok {
					rt.Fatalf("%s is listed but not there", id)
				}
				all = append(all, i)
			}
			if diff := cmp.Diff(want, all); diff != "" {
				rt.Fatalf("instances (-store +registry):\n%s", diff)
			}
			byStatus := make(map[registry.Status][]string)
			byTag := make(map[string][]string)
			serving := make(map[string]bool)
			counts := make(map[registry.Status]int)
			for _, i := range want {
				counts[i.Status]++
				if !i.Lapsed {
					byStatus[i.Status] = append(byStatus[i.Status], i.ServiceID)
					serving[i.ServiceID] = i.Status == registry.Healthy && i.Weight > 0
				}
				for _, tag := range i.Tags {
					byTag[tag] = append(byTag[tag], i.ServiceID)
				}
			}
			for _, s := range registry.Statuses() {
				if diff := cmp.Diff(append([]string{}, byStatus[s]...), ids(t, v, registry.Filter{Status: s})); diff != "" {
					rt.Fatalf("those that are %s (-store +registry):\n%s", s, diff)
				}
				if got := v.Counts().Statuses[s]; got != counts[s] {
					rt.Fatalf("%d are %s, counted %d", counts[s], s, got)
				}
			}
			for _, tag := range []string{"a", "b"} {
				if diff := cmp.Diff(append([]string{}, byTag[tag]...), ids(t, v, registry.Filter{Tags: []string{tag}})); diff != "" {
					rt.Fatalf("those tagged %s (-store +registry):\n%s", tag, diff)
				}
			}
			reached := make(map[string]bool)
			for range 16 {
				if c, err := v.Resolve(auth.Production, "backend", "api"); err == nil {
					reached[c.ServiceID] = true
				}
			}
			for id, serves := range serving {
				if serves != reached[id] {
					rt.Fatalf("%s serves: %t, is reached: %t", id, serves, reached[id])
				}
				delete(reached, id)
			}
			if len(reached) > 0 {
				rt.Fatalf("ghosts: %v", reached)
			}
		}
		var acted *registry.Registry
		pick := func(rt *rapid.T) *registry.Registry {
			acted = registries[rapid.IntRange(0, 1).Draw(rt, "registry")]
			return acted
		}
		tolerate := func(rt *rapid.T, err error) {
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"register": func(rt *rapid.T) {
				reg := instance(anID.Draw(rt, "id"))
				reg.HealthCheck.Enabled = rapid.Bool().Draw(rt, "check")
				reg.Weight = rapid.IntRange(0, 2).Draw(rt, "weight")
				reg.Tags = rapid.SampledFrom([][]string{nil, {"a"}, {"a", "b"}}).Draw(rt, "tags")
				reg.Lease = registry.Duration(rapid.SampledFrom([]time.Duration{0, 2 * time.Second, time.Minute}).Draw(rt, "lease"))
				_, _, err := pick(rt).Register(t.Context(), by(backend), reg)
				tolerate(rt, err)
			},
			"heartbeat": func(rt *rapid.T) {
				_, err := pick(rt).Heartbeat(t.Context(), by(backend), anID.Draw(rt, "id"))
				tolerate(rt, err)
			},
			"patch": func(rt *rapid.T) {
				to := rapid.SampledFrom([]registry.Status{registry.Starting, registry.Maintenance, registry.Stopping}).Draw(rt, "to")
				_, err := pick(rt).Patch(t.Context(), by(backend), anID.Draw(rt, "id"), registry.Patch{Status: to})
				tolerate(rt, err)
			},
			"unregister": func(rt *rapid.T) {
				tolerate(rt, pick(rt).Unregister(t.Context(), by(backend), anID.Draw(rt, "id")))
			},
			"look": func(rt *rapid.T) { view(t, pick(rt)) },
			"tick": func(rt *rapid.T) {
				f.clock.Advance(time.Duration(rapid.IntRange(1, 3000).Draw(rt, "ms")) * time.Millisecond)
			},
			"": func(rt *rapid.T) {
				if acted != nil {
					check(rt, acted)
				}
				f.clock.Advance(time.Second)
				check(rt, registries[0])
				check(rt, registries[1])
			},
		})
	})
}

func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	f, broken, r := faulty(t)
	view(t, r)
	reads := broken.Calls(storetest.CallChanges)
	mustRegister(t, r, by(backend), instance("backend-services-1"))
	if !resolves(view(t, r), "backend-services") {
		t.Error("registered, and not found")
	}
	if _, err := r.Patch(t.Context(), by(backend), "backend-services-1", registry.Patch{Status: registry.Maintenance}); err != nil {
		t.Fatal(err)
	}
	if resolves(view(t, r), "backend-services") {
		t.Error("in maintenance, and found")
	}
	if err := r.Unregister(t.Context(), by(backend), "backend-services-1"); err != nil {
		t.Fatal(err)
	}
	if v := view(t, r); v.Len() != 0 || broken.Calls(storetest.CallChanges) != reads {
		t.Errorf("%d instances after %d reads", v.Len(), broken.Calls(storetest.CallChanges)-reads)
	}
	f.clock.Advance(time.Second)
	if v := view(t, r); v.Len() != 0 {
		t.Errorf("%d instances came back", v.Len())
	}
}
