package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

var noon = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

// onlyPrefix is a Names that takes every service for known.
type onlyPrefix map[string]auth.Subject

func (n onlyPrefix) Resolve(ref string) (auth.Subject, bool) { s, ok := n[ref]; return s, ok }
func (onlyPrefix) Runs(auth.Subject, auth.Environment) bool  { return true }

// one makes the record of an instance that is healthy.
func one(service string, n int, change ...func(*Record)) Record {
	r := Record{
		Registration: Registration{
			ServiceID: fmt.Sprintf("%s-%06d", service, n), ServiceName: "isectech-" + service, Environment: auth.Production,
			Version: "1.0.0", Region: "us-central1", Weight: 1, Lease: Duration(time.Minute), Tags: []string{"blue", "http"},
			Endpoints: []Endpoint{{Name: "api", URL: "https://api.isectech.com", Protocol: "https", Port: 443}},
		},
		Status: Healthy, StatusSince: noon, RegisteredAt: noon, LeaseEnd: noon.Add(time.Minute),
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

// documents returns what the store holds of a record.
func documents(t testing.TB, r Record, generation int64) []store.Document {
	t.Helper()
	marshal := func(v any) json.RawMessage {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	docs := []store.Document{{Ref: recordRef(r.ServiceID), Generation: generation, UpdatedAt: noon.Add(time.Duration(generation) * time.Millisecond), Data: marshal(r)}}
	if r.Lease != 0 {
		docs = append(docs, store.Document{
			Ref: leaseRef(r.ServiceID), Generation: generation, UpdatedAt: docs[0].UpdatedAt,
			Data: marshal(leaseData{r.LeaseEnd.UnixMicro(), r.Lease, 0}),
		})
	}
	return docs
}

func tombstoneOf(ref store.Ref, generation int64) store.Document {
	return store.Document{Ref: ref, Generation: generation, UpdatedAt: noon.Add(time.Duration(generation) * time.Millisecond), Deleted: true}
}

func holding(t testing.TB, records ...Record) *cache {
	t.Helper()
	c := newCache(nil, func(err error) { t.Error(err) })
	for _, r := range records {
		c.applyOwn(documents(t, r, 1), noon)
	}
	return c
}

func (c *cache) viewAt(now time.Time) View {
	return View{snapshot: c.current.Load(), now: now.UnixMicro()}
}

func picks(t testing.TB, v View, n int) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range n {
		c, err := v.Resolve(auth.Production, "backend", "api")
		if err != nil {
			t.Fatal(err)
		}
		got[c.ServiceID]++
	}
	return got
}

func weight(w int) func(*Record) { return func(r *Record) { r.Weight = w } }
func in(s Status) func(*Record)  { return func(r *Record) { r.Status = s } }
func id(n int) string            { return fmt.Sprintf("backend-%06d", n) }
func until(s int) func(*Record) {
	return func(r *Record) { r.LeaseEnd = noon.Add(time.Duration(s) * time.Second) }
}
func named(name string) []Endpoint {
	return []Endpoint{{Name: name, URL: "https://x", Protocol: "https", Port: 443}}
}

func TestPickByWeight(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1, weight(5)), one("backend", 2), one("backend", 3, weight(2)), one("backend", 4, weight(0)),
		one("backend", 5, in(Degraded)), one("backend", 6, in(Starting)), one("backend", 7, in(Maintenance)),
		one("backend", 8, until(0)), one("backend", 9, func(r *Record) { r.Environment = auth.Development }),
		one("backend", 10, func(r *Record) { r.Endpoints = named("rpc") }))
	if diff := cmp.Diff(map[string]int{id(1): 50, id(2): 10, id(3): 20}, picks(t, c.viewAt(noon), 80)); diff != "" {
		t.Errorf("80 picks (-want +got):\n%s", diff)
	}
}

func TestPickIsSmooth(t *testing.T) {
	t.Parallel()
	var entries []*entry
	for i, w := range []int{500, 250, 250} {
		entries = append(entries, &entry{Record: one("backend", i, weight(w))})
	}
	ring := newRing(entries, "api")
	if len(ring.turns) != 4 {
		t.Fatalf("the round has %d turns, want 4", len(ring.turns))
	}
	for n := range uint64(8) {
		a, _ := ring.at(n, 0)
		b, _ := ring.at(n+1, 0)
		c, _ := ring.at(n+2, 0)
		if a == b && b == c {
			t.Errorf("%s has three turns in a row", a.ServiceID)
		}
	}
	same := newRing(entries[1:], "api")
	if same.turns != nil {
		t.Error("equal weights need no table of turns")
	}
}

func TestLongRoundsAreBounded(t *testing.T) {
	t.Parallel()
	var entries []*entry
	for i := range 2000 {
		entries = append(entries, &entry{Record: one("backend", i, weight(1+i%1000))})
	}
	ring := newRing(entries, "api")
	turns := make(map[uint32]int)
	for _, i := range ring.turns {
		turns[i]++
	}
	if len(ring.turns) > 2*slotsPerCandidate*len(entries) || len(turns) != len(entries) {
		t.Errorf("%d turns for %d of %d candidates", len(ring.turns), len(turns), len(entries))
	}
	if heavy, light := turns[999], turns[0]; heavy < 12*light {
		t.Errorf("a weight of 1000 has %d turns, a weight of 1 has %d", heavy, light)
	}
}

func TestDegradedOnlyWhereNothingIsHealthy(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1, until(10)), one("backend", 2, in(Degraded)), one("backend", 3, in(Degraded)), one("backend", 4, in(Unhealthy)))
	if diff := cmp.Diff(map[string]int{id(1): 10}, picks(t, c.viewAt(noon), 10)); diff != "" {
		t.Errorf("with a healthy one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{id(2): 5, id(3): 5}, picks(t, c.viewAt(noon.Add(10*time.Second)), 10)); diff != "" {
		t.Errorf("after its lease has ended (-want +got):\n%s", diff)
	}
}

func TestLeaseEndsExactly(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1, until(10)))
	end := noon.Add(10 * time.Second)
	if _, err := c.viewAt(end.Add(-time.Microsecond)).Resolve(auth.Production, "backend", "api"); err != nil {
		t.Errorf("a microsecond before: %v", err)
	}
	if _, err := c.viewAt(end).Resolve(auth.Production, "backend", "api"); !errors.Is(err, ErrNoEndpoint) || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("at the end: %v", err)
	}
}

// TestRenewedLeaseComesBack has an instance left out of a table because its lease had ended, and renews
// the lease elsewhere, which changes no record.
func TestRenewedLeaseComesBack(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1, until(10)), one("backend", 2))
	late := noon.Add(10 * time.Second)
	if diff := cmp.Diff(map[string]int{id(2): 4}, picks(t, c.viewAt(late), 4)); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	renewed := documents(t, one("backend", 1, until(60)), 2)[1:]
	c.applyOwn(renewed, late)
	if diff := cmp.Diff(map[string]int{id(1): 2, id(2): 2}, picks(t, c.viewAt(late), 4)); diff != "" {
		t.Errorf("renewed (-want +got):\n%s", diff)
	}
}

func TestManyEndedLeasesAreSweptFromTheTable(t *testing.T) {
	t.Parallel()
	var records []Record
	for i := range 100 {
		records = append(records, one("backend", i, until(10)))
	}
	c := holding(t, append(records, one("backend", 100))...)
	picks(t, c.viewAt(noon), 1)
	late := c.viewAt(noon.Add(20 * time.Second))
	if diff := cmp.Diff(map[string]int{id(100): 202}, picks(t, late, 202)); diff != "" {
		t.Errorf("picks (-want +got):\n%s", diff)
	}
	s, _ := late.snapshot.services.get("isectech-backend")
	if set := s.pools[0].rebuild(late.snapshot, "isectech-backend", auth.Production, late.now).find("api"); len(set.healthy.candidates) != 1 {
		t.Errorf("%d candidates left in the table", len(set.healthy.candidates))
	}
}

func TestCounterSurvivesChanges(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1), one("backend", 2), one("backend", 3))
	got := make(map[string]int)
	for i := range 30 {
		for id, n := range picks(t, c.viewAt(noon), 1) {
			got[id] += n
		}
		c.applyOwn(documents(t, one("backend", 1, func(r *Record) { r.Version = fmt.Sprint(i) }), int64(i+2)), noon)
	}
	if diff := cmp.Diff(map[string]int{id(1): 10, id(2): 10, id(3): 10}, got); diff != "" {
		t.Errorf("a pick between any two of 30 changes (-want +got):\n%s", diff)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1, in(Starting)), one("backend", 2, until(18)), one("backend", 3, in(Maintenance)), one("backend", 4, weight(0)),
		one("backend", 5, func(r *Record) { r.Endpoints = named("rpc") }), one("backend", 6, in(Quarantined)),
		one("backend", 7, func(r *Record) { r.Environment = auth.Staging }), one("backend", 8, func(r *Record) { r.Environment = auth.Staging }),
		one("backend", 9, func(r *Record) { r.Environment = auth.Development }))
	v := c.viewAt(noon.Add(59 * time.Second))
	_, err := v.Resolve(auth.Production, "backend", "api")
	var none *NoEndpointError
	if !errors.As(err, &none) {
		t.Fatalf("resolved: %v", err)
	}
	ended := noon.Add(18 * time.Second)
	since := noon
	want := Explanation{ServiceName: "isectech-backend", Environment: auth.Production, Endpoint: "api", Candidates: []Candidate{}, Excluded: []Exclusion{
		{ServiceID: id(1), Reason: "starting", Detail: "it is starting since 2026-01-04T12:00:00Z", Since: &since, Remedy: remedies[Starting]},
		{ServiceID: id(2), Reason: "lapsed", Detail: "its lease of 60s ended 41s ago, at 2026-01-04T12:00:18Z", Since: &ended, Remedy: "a heartbeat brings it back"},
		{ServiceID: id(3), Reason: "maintenance", Detail: "it is maintenance since 2026-01-04T12:00:00Z", Since: &since, Remedy: remedies[Maintenance]},
		{ServiceID: id(4), Reason: "weight_zero", Detail: "its weight is 0", Remedy: "give it a weight"},
		{ServiceID: id(5), Reason: "no_such_endpoint", Detail: `it has no endpoint named "api"`, Remedy: "register it with such an endpoint, or ask for one that it has"},
		{ServiceID: id(6), Reason: "quarantined", Detail: "it is quarantined since 2026-01-04T12:00:00Z", Since: &since, Remedy: remedies[Quarantined]},
		elsewhere(auth.Staging, 2), elsewhere(auth.Development, 1),
	}}
	if diff := cmp.Diff(want, none.Explanation); diff != "" {
		t.Errorf("explanation (-want +got):\n%s", diff)
	}
	c.applyOwn(documents(t, one("backend", 10), 1), noon)
	if x, ok := c.viewAt(noon).Explain(auth.Production, "isectech-backend", "api"); !ok || x.Healthy != 2 || len(x.Excluded) != 7 || len(x.Candidates) != 2 || x.Candidates[1].Share != 0.5 {
		t.Errorf("with some to choose from: %+v", x)
	}
	if _, ok := c.viewAt(noon).Explain(auth.Production, "nobody", "api"); ok {
		t.Error("a service of no name is explained")
	}
}

func TestNothingIsLeftOfTheLastInstance(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1))
	for g := int64(2); g < 6; g++ {
		c.applyOwn(documents(t, one("backend", 1, weight(int(g))), g), noon)
	}
	c.applyOwn(documents(t, one("backend", 1, func(r *Record) { r.Environment = auth.Staging }), 6), noon)
	if _, err := c.viewAt(noon).Resolve(auth.Production, "backend", "api"); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("it has moved, and production finds it: %v", err)
	}
	c.applyOwn([]store.Document{tombstoneOf(recordRef(id(1)), 7), tombstoneOf(leaseRef(id(1)), 7)}, noon)
	s := c.current.Load()
	if s.entries.size != 0 || s.services.size != 0 || s.postings.size != 0 || s.statuses != [statusCount]int{} || len(c.leases) != 0 {
		t.Errorf("left over: %d instances, %d services, %d postings, statuses %v, %d leases",
			s.entries.size, s.services.size, s.postings.size, s.statuses, len(c.leases))
	}
}

func TestExplanationIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache(nil, func(err error) { t.Error(err) })
	for i := range 3000 {
		c.applyOwn(documents(t, one("backend", i, in(Starting)), 1), noon)
	}
	x, _ := c.viewAt(noon).Explain(auth.Production, "backend", "api")
	if len(x.Excluded) != maxExclusions || x.Omitted != 3000-maxExclusions {
		t.Errorf("%d are listed, %d omitted", len(x.Excluded), x.Omitted)
	}
}

func TestResolveByID(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1), one("backend", 2, in(Starting)))
	v := c.viewAt(noon)
	if got, err := v.Resolve(auth.Production, id(1), "api"); err != nil || got != (Choice{ServiceID: id(1), URL: "https://api.isectech.com", Protocol: "https", Port: 443}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, tt := range []struct {
		env      auth.Environment
		id, name string
		want     error
	}{
		{auth.Production, id(2), "api", ErrNoEndpoint}, {auth.Production, id(1), "rpc", ErrNoEndpoint},
		{auth.Staging, id(1), "api", ErrNoEndpoint}, {"", id(1), "api", ErrNoEndpoint}, {auth.Production, id(3), "api", store.ErrNotFound},
	} {
		if _, err := v.Resolve(tt.env, tt.id, tt.name); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestLateEchoResurrectsNothing delivers what was committed before a deletion after it, once while the
// deletion is remembered and once when the feed has passed it.
func TestLateEchoResurrectsNothing(t *testing.T) {
	t.Parallel()
	c := holding(t, one("backend", 1))
	old := documents(t, one("backend", 1, weight(2)), 2)
	deletion := []store.Document{tombstoneOf(recordRef(id(1)), 3), tombstoneOf(leaseRef(id(1)), 3)}
	c.applyOwn(deletion, noon)
	c.applyOwn(old, noon)
	if n := c.viewAt(noon).Len(); n != 0 {
		t.Fatalf("%d instances after an echo", n)
	}
	c.store = feed(append(deletion, tombstoneOf(leaseRef("other-1"), 9)))
	if err := c.refresh(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	if len(c.tombstones) != 0 {
		t.Errorf("tombstones that the feed has passed: %v", c.tombstones)
	}
	c.applyOwn(old, noon)
	if v := c.viewAt(noon); v.Len() != 0 || len(c.leases) != 0 {
		t.Errorf("%d instances and %d leases after a late echo", v.Len(), len(c.leases))
	}
	c.applyOwn(documents(t, one("backend", 1), 10), noon)
	if diff := cmp.Diff(map[string]int{id(1): 1}, picks(t, c.viewAt(noon), 1)); diff != "" {
		t.Errorf("registered anew (-want +got):\n%s", diff)
	}
}

func TestDocumentsInAnyOrder(t *testing.T) {
	t.Parallel()
	docs := append(documents(t, one("backend", 1, until(10)), 1), documents(t, one("backend", 1, in(Starting), until(20)), 2)...)
	docs = append(docs, documents(t, one("backend", 1, weight(3), until(30)), 3)...)
	for _, order := range [][]int{{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {4, 0, 5, 2, 1, 3}, {1, 5, 0, 4, 4, 2}} {
		c := newCache(nil, func(err error) { t.Error(err) })
		for _, i := range order {
			c.applyOwn(docs[i:i+1], noon)
		}
		v := c.viewAt(noon)
		if i, ok := v.Instance(id(1)); !ok || i.Generation != 3 || i.LeaseExpiresAt == nil || !i.LeaseExpiresAt.Equal(noon.Add(30*time.Second)) || i.Weight != 3 || v.Len() != 1 {
			t.Errorf("order %v: %+v", order, i)
		}
		if diff := cmp.Diff(map[string]int{id(1): 2}, picks(t, v, 2)); diff != "" {
			t.Errorf("order %v (-want +got):\n%s", order, diff)
		}
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	c := holding(t, one("backend", 1, weight(5)), one("backend", 2), one("backend", 3))
	known := onlyPrefix{"backend": auth.MustSubject("isectech-backend")}
	r := &Registry{names: func() Names { return known }, now: func() time.Time { return noon }, cache: c}
	r.fresh = freshness{cache: c, bound: time.Second}
	r.fresh.checked.Store(noon.UnixNano())
	ctx, second := t.Context(), id(2)
	for name, f := range map[string]func(){
		"view and resolve": func() {
			v, err := r.View(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Resolve(auth.Production, "backend", "api"); err != nil {
				t.Fatal(err)
			}
		},
		"look up": func() {
			if _, ok := c.current.Load().entries.get(second); !ok {
				t.Fatal("gone")
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A pick remembers until when a lease is good for, and has to hear that it was cut short or has gone.
func TestPickAfterLeaseIsCutShort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		next func(doc store.Document) store.Document
	}{
		{"shorter", func(doc store.Document) store.Document {
			return documents(t, one("backend", 1, func(r *Record) { r.LeaseEnd = noon.Add(time.Second) }), doc.Generation)[1]
		}},
		{"deleted", func(doc store.Document) store.Document { doc.Data, doc.Deleted = nil, true; return doc }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCache(nil, func(err error) { t.Error(err) })
			c.applyOwn(documents(t, one("backend", 1, func(r *Record) { r.LeaseEnd = noon.Add(time.Hour) }), 1), noon)
			picked := func(at time.Time) bool {
				_, err := c.viewAt(at).Resolve(auth.Production, "isectech-backend", "api")
				return err == nil
			}
			if !picked(noon) || !picked(noon.Add(time.Hour-1)) || picked(noon.Add(time.Hour)) {
				t.Fatal("a lease of an hour is not one of an hour")
			}
			doc := documents(t, one("backend", 1), 2)[1]
			doc = tt.next(doc)
			c.applyOwn([]store.Document{doc}, noon)
			if picked(noon.Add(time.Second)) {
				t.Error("picked after the end of its lease")
			}
			doc = documents(t, one("backend", 1, func(r *Record) { r.LeaseEnd = noon.Add(2 * time.Hour) }), 3)[1]
			if c.applyOwn([]store.Document{doc}, noon); !picked(noon.Add(time.Hour)) {
				t.Error("not picked although the lease was renewed")
			}
		})
	}
}
