package registry_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// backend is the principal of isectech-backend-services in production; ops is an operator.
var (
	backend = principal("isectech-backend-services", auth.Production)
	ops     = auth.Principal{Subject: auth.MustSubject("operator:ops@isectech.com"), Scopes: auth.AdminRead | auth.AdminWrite}
)

func principal(name string, env auth.Environment) auth.Principal {
	return auth.Principal{Subject: auth.MustSubject(name), Environment: env, Scopes: auth.ServiceDiscover}
}

func by(p auth.Principal) registry.Call { return registry.Call{By: p, Cause: "test"} }

// fixture is a store with a clock that registries share.
type fixture struct {
	store store.Store
	clock *storetest.Clock
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	clock := new(storetest.Clock)
	return &fixture{store: storetest.New(t, clock.Now), clock: clock}
}

func (f *fixture) registry() *registry.Registry {
	return registry.New(registry.Options{
		Store: f.store, Names: func() registry.Names { return names{} }, Now: f.clock.Now, AllowLoopback: true, MinInterval: time.Second,
	})
}

// instance returns a registration of the backend without a health check, so that it is healthy at once.
func instance(id string, change ...func(*registry.Registration)) registry.Registration {
	reg := seed()
	reg.ServiceID, reg.HealthCheck = id, registry.HealthCheck{}
	for _, c := range change {
		c(&reg)
	}
	return reg
}

func mustRegister(t testing.TB, r *registry.Registry, call registry.Call, reg registry.Registration) registry.Instance {
	t.Helper()
	i, _, err := r.Register(t.Context(), call, reg)
	if err != nil {
		t.Fatalf("registering %s: %v", reg.ServiceID, err)
	}
	return i
}

func view(t testing.TB, r *registry.Registry) registry.View {
	t.Helper()
	v, err := r.View(t.Context())
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	return v
}

func TestRegisterReadUnregister(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	got, outcome, err := r.Register(t.Context(), by(backend), seed())
	if err != nil || outcome != registry.Created {
		t.Fatalf("outcome %s, %v", outcome, err)
	}
	end := storetest.Start.Add(90 * time.Second)
	want := registry.Instance{
		Registration: seed(), Status: registry.Starting, StatusSince: storetest.Start, Generation: 1,
		RegisteredAt: storetest.Start, UpdatedAt: got.UpdatedAt, LeaseExpiresAt: &end,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
	for name, reader := range map[string]*registry.Registry{"writer": r, "other": f.registry()} {
		read, ok := view(t, reader).Instance("backend-services-001")
		if diff := cmp.Diff(got, read); diff != "" || !ok {
			t.Errorf("the %s reads (-registered +read):\n%s", name, diff)
		}
	}
	if err := r.Unregister(t.Context(), by(backend), "backend-services-001"); err != nil {
		t.Fatal(err)
	}
	if _, ok := view(t, r).Instance("backend-services-001"); ok {
		t.Error("unregistered, and still there")
	}
	for name, err := range map[string]error{
		"unregister": r.Unregister(t.Context(), by(backend), "backend-services-001"),
		"heartbeat":  second(r.Heartbeat(t.Context(), by(backend), "backend-services-001")),
		"patch":      second(r.Patch(t.Context(), by(backend), "backend-services-001", registry.Patch{Status: registry.Starting})),
		"hostile id": second(r.Heartbeat(t.Context(), by(backend), "../x\x00")),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s after unregister: %v", name, err)
		}
	}
	again, outcome, err := r.Register(t.Context(), by(backend), seed())
	if err != nil || outcome != registry.Created || again.Generation <= got.Generation {
		t.Errorf("registered anew: %s, generation %d, %v", outcome, again.Generation, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestOwnership(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	mustRegister(t, r, by(backend), seed())
	frontend := principal("isectech-frontend", auth.Production)
	elsewhere := principal("isectech-backend-services", auth.Development)
	moved := seed()
	moved.Environment = auth.Development
	for name, err := range map[string]error{
		"register by another":           third(r.Register(t.Context(), by(frontend), seed())),
		"register from elsewhere":       third(r.Register(t.Context(), by(elsewhere), seed())),
		"register for elsewhere":        third(r.Register(t.Context(), by(backend), moved)),
		"own id from elsewhere":         third(r.Register(t.Context(), by(elsewhere), moved)),
		"moved by an operator":          third(r.Register(t.Context(), by(ops), moved)),
		"nobody":                        third(r.Register(t.Context(), by(auth.Principal{}), seed())),
		"nobody with a scope":           third(r.Register(t.Context(), by(auth.Principal{Scopes: auth.AllScopes}), seed())),
		"heartbeat by another":          second(r.Heartbeat(t.Context(), by(frontend), "backend-services-001")),
		"heartbeat from elsewhere":      second(r.Heartbeat(t.Context(), by(elsewhere), "backend-services-001")),
		"patch by another":              second(r.Patch(t.Context(), by(frontend), "backend-services-001", registry.Patch{})),
		"unregister by another":         r.Unregister(t.Context(), by(frontend), "backend-services-001"),
		"operator without admin:write":  r.Unregister(t.Context(), by(auth.Principal{Subject: ops.Subject, Scopes: auth.AdminRead}), "backend-services-001"),
		"malformed, by another service": third(r.Register(t.Context(), by(frontend), registry.Registration{ServiceName: "isectech-backend-services"})),
	} {
		if !errors.Is(err, registry.ErrNotOwner) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, outcome, err := r.Register(t.Context(), by(ops), seed()); err != nil || outcome != registry.Unchanged {
		t.Errorf("an operator registers: %s, %v", outcome, err)
	}
	if err := r.Unregister(t.Context(), by(ops), "backend-services-001"); err != nil {
		t.Errorf("an operator unregisters: %v", err)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

func TestInvalidRegistration(t *testing.T) {
	t.Parallel()
	r := newFixture(t).registry()
	reg := seed()
	reg.ServiceID, reg.Weight = "backend", 5000
	_, _, err := r.Register(t.Context(), by(backend), reg)
	var invalid *registry.InvalidError
	if !errors.As(err, &invalid) || len(invalid.Findings) != 2 || !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("registered: %v", err)
	}
	mustRegister(t, r, by(backend), seed())
	tags := make([]string, 65)
	for i := range tags {
		tags[i] = fmt.Sprint(i)
	}
	if _, err := r.Patch(t.Context(), by(backend), "backend-services-001", registry.Patch{Tags: &tags}); !errors.Is(err, registry.ErrInvalid) {
		t.Errorf("patched: %v", err)
	}
}

func TestNothingIsRegisteredWithoutNames(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mustRegister(t, f.registry(), by(backend), instance("backend-services-1"))
	r := registry.New(registry.Options{Store: f.store, Names: func() registry.Names { return nil }, Now: f.clock.Now})
	if _, _, err := r.Register(t.Context(), by(backend), seed()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("registered: %v", err)
	}
	for _, ref := range []string{"isectech-backend-services", "backend-services", "backend-services-1"} {
		if c, err := view(t, r).Resolve(auth.Production, ref, "api"); err != nil || c.ServiceID != "backend-services-1" {
			t.Errorf("resolving %s without names: %+v, %v", ref, c, err)
		}
	}
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	r := newFixture(t).registry()
	match := func(g int64) registry.Call { return registry.Call{By: backend, Cause: "test", IfMatch: g} }
	failed := func(what string, err error, current int64) {
		t.Helper()
		var precondition *registry.PreconditionError
		if !errors.As(err, &precondition) || precondition.Generation != current || !errors.Is(err, registry.ErrPrecondition) {
			t.Errorf("%s: %v; want a failed precondition with generation %d", what, err, current)
		}
	}
	failed("register what is not there", third(r.Register(t.Context(), match(1), seed())), 0)
	failed("register any", third(r.Register(t.Context(), match(registry.AnyGeneration), seed())), 0)
	mustRegister(t, r, by(backend), seed())
	failed("register", third(r.Register(t.Context(), match(2), seed())), 1)
	failed("patch", second(r.Patch(t.Context(), match(2), "backend-services-001", registry.Patch{Status: registry.Maintenance})), 1)
	failed("heartbeat", second(r.Heartbeat(t.Context(), match(2), "backend-services-001")), 1)
	failed("unregister", r.Unregister(t.Context(), match(2), "backend-services-001"), 1)
	if i, err := r.Patch(t.Context(), match(1), "backend-services-001", registry.Patch{Status: registry.Maintenance}); err != nil || i.Generation != 2 {
		t.Errorf("patch: generation %d, %v", i.Generation, err)
	}
	failed("patch with the old one", second(r.Patch(t.Context(), match(1), "backend-services-001", registry.Patch{Status: registry.Starting})), 2)
	if err := r.Unregister(t.Context(), match(registry.AnyGeneration), "backend-services-001"); err != nil {
		t.Errorf("unregister: %v", err)
	}
}

func TestHeartbeatWritesOncePerHalfLease(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	registered := mustRegister(t, r, by(backend), instance("backend-services-1"))
	lease := func() store.Document {
		d, err := f.store.Get(t.Context(), store.Ref{Collection: store.Leases, ID: "backend-services-1"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	journal := func() int {
		page, err := f.store.Query(t.Context(), store.Query{Collection: store.Journal, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Documents)
	}
	entries := journal()
	for range 90 {
		f.clock.Advance(time.Second)
		i, err := r.Heartbeat(t.Context(), by(backend), "backend-services-1")
		if err != nil || i.Generation != registered.Generation || i.ETag() != registered.ETag() || !i.UpdatedAt.Equal(registered.UpdatedAt) {
			t.Fatalf("heartbeat: %+v, %v", i, err)
		}
	}
	if g := lease().Generation; g != 3 {
		t.Errorf("90 heartbeats in one lease wrote it %d times, want 2", g-1)
	}
	if got := journal(); got != entries {
		t.Errorf("heartbeats made %d journal entries", got-entries)
	}
	f.clock.Advance(89 * time.Second)
	if v := view(t, r); !resolves(v, "backend") {
		t.Error("within its lease it is not found")
	}
	f.clock.Advance(time.Second)
	i, _ := view(t, r).Instance("backend-services-1")
	if v := view(t, r); resolves(v, "backend") || !i.Lapsed || i.ETag() == registered.ETag() {
		t.Errorf("its lease has ended, and it is found: %+v", i)
	}
	if i, err := r.Heartbeat(t.Context(), by(backend), "backend-services-1"); err != nil || i.Generation != 2 || i.Lapsed {
		t.Errorf("coming back: %+v, %v", i, err)
	}
	if !resolves(view(t, r), "backend") {
		t.Error("it came back and is not found")
	}
}

func resolves(v registry.View, ref string) bool {
	_, err := v.Resolve(auth.Production, ref, "api")
	return err == nil
}

func TestLeaseChangesWithRegistration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r, other := f.registry(), f.registry()
	lease := func(d time.Duration) registry.Registration {
		return instance("backend-services-1", func(reg *registry.Registration) { reg.Lease = registry.Duration(d) })
	}
	for i, step := range []struct {
		lease time.Duration
		found bool // ten seconds later
	}{{5 * time.Second, false}, {0, true}, {time.Minute, true}, {time.Second, false}, {0, true}, {20 * time.Second, true}} {
		got := mustRegister(t, r, by(backend), lease(step.lease))
		if (got.LeaseExpiresAt == nil) != (step.lease == 0) {
			t.Errorf("step %d: lease of %v ends at %v", i, step.lease, got.LeaseExpiresAt)
		}
		f.clock.Advance(10 * time.Second)
		for name, reader := range map[string]*registry.Registry{"writer": r, "other": other} {
			if got := resolves(view(t, reader), "backend"); got != step.found {
				t.Errorf("step %d, lease %v: the %s finds it: %t", i, step.lease, name, got)
			}
		}
		if _, err := f.store.Get(t.Context(), store.Ref{Collection: store.Leases, ID: "backend-services-1"}); errors.Is(err, store.ErrNotFound) != (step.lease == 0) {
			t.Errorf("step %d, lease %v: the stored lease: %v", i, step.lease, err)
		}
		if step.lease == 0 {
			if _, err := r.Heartbeat(t.Context(), by(backend), "backend-services-1"); err != nil {
				t.Errorf("step %d: heartbeat without a lease: %v", i, err)
			}
		}
	}
}

func TestRacingRegistrations(t *testing.T) {
	t.Parallel()
	for _, existing := range []bool{false, true} {
		for _, same := range []bool{false, true} {
			t.Run(fmt.Sprintf("existing=%t same=%t", existing, same), func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				if existing {
					mustRegister(t, f.registry(), by(backend), instance("backend-services-1"))
				}
				const n = 12
				var changed, unchanged, conflicts atomic.Int32
				var wg sync.WaitGroup
				start := make(chan struct{})
				for i := range n {
					r := f.registry()
					wg.Go(func() {
						<-start
						version := "9"
						if !same {
							version = fmt.Sprintf("9.%d", i)
						}
						_, outcome, err := r.Register(t.Context(), by(backend), instance("backend-services-1", func(reg *registry.Registration) { reg.Version = version }))
						var conflict *store.ConflictError
						switch {
						case errors.As(err, &conflict) && conflict.Generation > 0:
							conflicts.Add(1)
						case err != nil:
							t.Errorf("registering: %v", err)
						case outcome == registry.Unchanged:
							unchanged.Add(1)
						default:
							changed.Add(1)
						}
					})
				}
				close(start)
				wg.Wait()
				i, ok := view(t, f.registry()).Instance("backend-services-1")
				base := int64(0)
				if existing {
					base = 1
				}
				if !ok || i.Generation != base+int64(changed.Load()) {
					t.Errorf("generation %d after %d changes", i.Generation, changed.Load())
				}
				if same && (changed.Load() != 1 || conflicts.Load() != 0) {
					t.Errorf("%d of %d said the same first, %d conflicts", changed.Load(), n, conflicts.Load())
				}
				if !same && unchanged.Load() != 0 {
					t.Errorf("%d of %d found their own registration there before them", unchanged.Load(), n)
				}
			})
		}
	}
}

// barrier is a store whose reads of a pair wait for each other, so that all decide on the same state.
type barrier struct {
	store.Store
	wait func()
}

func (b *barrier) GetAll(ctx context.Context, refs []store.Ref) ([]store.Document, error) {
	docs, err := b.Store.GetAll(ctx, refs)
	b.wait()
	return docs, err
}

func TestTwoFirstRegistrationsAtOnce(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{false, true} {
		f := newFixture(t)
		var both sync.WaitGroup
		both.Add(2)
		outcomes := make([]registry.Outcome, 2)
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i := range 2 {
			met := false
			r := registry.New(registry.Options{
				Store: &barrier{f.store, func() {
					if !met {
						met = true
						both.Done()
						both.Wait()
					}
				}},
				Names: func() registry.Names { return names{} }, Now: f.clock.Now,
			})
			wg.Go(func() {
				_, outcomes[i], errs[i] = r.Register(t.Context(), by(backend), instance("backend-services-1", func(reg *registry.Registration) {
					if !same {
						reg.Version = fmt.Sprint(i)
					}
				}))
			})
		}
		wg.Wait()
		won := 0
		if errs[1] == nil && outcomes[1] == registry.Created {
			won = 1
		}
		lost := 1 - won
		if errs[won] != nil || outcomes[won] != registry.Created {
			t.Fatalf("no one won: %v, %v", outcomes, errs)
		}
		var conflict *store.ConflictError
		if same && (errs[lost] != nil || outcomes[lost] != registry.Unchanged) ||
			!same && (!errors.As(errs[lost], &conflict) || conflict.Generation != 1) {
			t.Errorf("same %t: the other got %s, %v", same, outcomes[lost], errs[lost])
		}
	}
}

// TestHeartbeatLosesToUnregister has the instance unregistered between a heartbeat's reading and writing.
func TestHeartbeatLosesToUnregister(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{50 * time.Second, 100 * time.Second} { // in the lease, and after it
		f := newFixture(t)
		mustRegister(t, f.registry(), by(backend), instance("backend-services-1"))
		f.clock.Advance(after)
		first := true
		r := registry.New(registry.Options{
			Store: &barrier{f.store, func() {
				if first {
					first = false
					if err := f.registry().Unregister(t.Context(), by(backend), "backend-services-1"); err != nil {
						t.Error(err)
					}
				}
			}},
			Names: func() registry.Names { return names{} }, Now: f.clock.Now,
		})
		if _, err := r.Heartbeat(t.Context(), by(backend), "backend-services-1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v after registering: %v", after, err)
		}
		for _, collection := range []string{store.Services, store.Leases} {
			if _, err := f.store.Get(t.Context(), store.Ref{Collection: collection, ID: "backend-services-1"}); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%v after registering: %s is back: %v", after, collection, err)
			}
		}
	}
}

func TestChangesAtOnceAllTakeEffect(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mustRegister(t, f.registry(), by(backend), instance("backend-services-1"))
	var wg sync.WaitGroup
	for i := range 6 {
		r := f.registry()
		wg.Go(func() {
			value := "x"
			_, err := r.Patch(t.Context(), by(backend), "backend-services-1", registry.Patch{Metadata: map[string]*string{fmt.Sprint(i): &value}})
			if err != nil && !errors.Is(err, store.ErrConflict) {
				t.Errorf("patch: %v", err)
			}
			if errors.Is(err, store.ErrConflict) {
				t.Logf("patch %d gave up", i)
			}
		})
	}
	wg.Wait()
	i, _ := view(t, f.registry()).Instance("backend-services-1")
	if int64(len(i.Metadata)) != i.Generation-1 {
		t.Errorf("%d of the patches took effect in %d generations", len(i.Metadata), i.Generation)
	}
}

func TestQuarantineHoldsTheOwner(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	mustRegister(t, r, by(backend), instance("backend-services-1"))
	doc, err := f.store.Get(t.Context(), store.Ref{Collection: store.Services, ID: "backend-services-1"})
	if err != nil {
		t.Fatal(err)
	}
	var rec registry.Record
	if err := doc.Decode(&rec); err != nil {
		t.Fatal(err)
	}
	rec.Status = registry.Quarantined
	if _, err := f.store.Commit(t.Context(), store.Batch{Actor: "incident", Cause: "test", Writes: []store.Write{{Ref: doc.Ref, Data: rec}}}); err != nil {
		t.Fatal(err)
	}
	var transition *registry.TransitionError
	if err := r.Unregister(t.Context(), by(backend), "backend-services-1"); !errors.As(err, &transition) || transition.Generation != 2 {
		t.Errorf("the owner unregisters: %v", err)
	}
	if _, err := r.Patch(t.Context(), by(backend), "backend-services-1", registry.Patch{Status: registry.Starting}); !errors.Is(err, registry.ErrTransition) {
		t.Errorf("the owner patches: %v", err)
	}
	if i := mustRegister(t, r, by(backend), instance("backend-services-1", func(reg *registry.Registration) { reg.Version = "9" })); i.Status != registry.Quarantined {
		t.Errorf("registered again it is %s", i.Status)
	}
	f.clock.Advance(time.Hour)
	if i, err := r.Heartbeat(t.Context(), by(backend), "backend-services-1"); err != nil || i.Status != registry.Quarantined {
		t.Errorf("after a lapse it is %s, %v", i.Status, err)
	}
	if resolves(view(t, r), "backend") {
		t.Error("it is discoverable")
	}
	if err := r.Unregister(t.Context(), by(ops), "backend-services-1"); err != nil {
		t.Errorf("an operator unregisters: %v", err)
	}
}
