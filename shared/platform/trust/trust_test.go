package trust_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// source returns a Source over a store that fails when told to.
func source(t *testing.T) (*platformtest.Platform, *storetest.Faulty, *trust.Source) {
	t.Helper()
	p := platformtest.New(t)
	faulty := storetest.NewFaulty(p.Store)
	return p, faulty, trust.NewSource(faulty, p.Clock.Now)
}

// addService makes the next version of the policy.
func addService(t *testing.T, p *platformtest.Platform, name string) {
	t.Helper()
	entry := policy.ServiceEntry{Environments: []string{"production"}, Scopes: []string{"service:discover"}}
	if _, err := p.Bootstrap().AddService(t.Context(), auth.MustSubject(name), entry); err != nil {
		t.Fatal(err)
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	p, faulty, s := source(t)
	first, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addService(t, p, "isectech-billing")
	reads := faulty.Calls(storetest.CallGet)
	p.Clock.Advance(999 * time.Millisecond)
	if st, err := s.State(t.Context()); err != nil || st != first || faulty.Calls(storetest.CallGet) != reads {
		t.Errorf("what is not a second old was read again: %v", err)
	}
	p.Clock.Advance(time.Millisecond)
	st, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := st.Resolve("billing"); !ok || st.Policy.Version() != 2 {
		t.Errorf("version %d after a second, billing known %v", st.Policy.Version(), ok)
	}
	if s.Latest() != st {
		t.Error("Latest is not what was read last")
	}
	p.Clock.Advance(time.Second)
	if again, err := s.State(t.Context()); err != nil || again.Policy != st.Policy || again.ReadAt.Equal(st.ReadAt) {
		t.Errorf("a policy that is the same was compiled again, or not looked at: %v", err)
	}
}

func TestStaleBounds(t *testing.T) {
	t.Parallel()
	type bound struct {
		after                    time.Duration
		readable, writable, kept bool
	}
	last := []bound{{299 * time.Second, false, false, true}, {3599 * time.Second, false, false, true}, {3600 * time.Second, false, false, false}}
	for name, tc := range map[string]struct {
		fails  []string
		bounds []bound
	}{
		"all": {[]string{storetest.CallGet, storetest.CallQuery, storetest.CallChanges}, append([]bound{
			{2 * time.Second, true, true, true}, {59 * time.Second, true, true, true}, {60 * time.Second, false, false, true},
		}, last...)},
		"what is revoked": {[]string{storetest.CallChanges}, append([]bound{
			{59 * time.Second, true, true, true}, {60 * time.Second, false, false, true},
		}, last...)},
		"the policy": {[]string{storetest.CallGet}, []bound{
			{59 * time.Second, true, true, true}, {60 * time.Second, true, false, true}, {299 * time.Second, true, false, true},
			{300 * time.Second, false, false, true}, {3600 * time.Second, false, false, false},
		}},
		"the keys": {[]string{storetest.CallQuery}, []bound{
			{60 * time.Second, true, false, true}, {299 * time.Second, true, false, true}, {300 * time.Second, false, false, true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, faulty, s := source(t)
			kept := trust.NewSource(faulty, p.Clock.Now)
			kept.Keep(time.Hour)
			for _, one := range []*trust.Source{s, kept} {
				if _, err := one.State(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			began := p.Clock.Now()
			for _, call := range tc.fails {
				faulty.Fail(call, -1, store.ErrUnavailable)
			}
			for _, b := range tc.bounds {
				p.Clock.Advance(b.after - p.Clock.Now().Sub(began))
				st, err := s.State(t.Context())
				if (err == nil) != b.readable || err != nil && !errors.Is(err, trust.ErrUnavailable) {
					t.Errorf("after %v: %v", b.after, err)
				}
				if err == nil && s.Writable(st) != b.writable {
					t.Errorf("after %v: writable %v", b.after, !b.writable)
				}
				if st, err := kept.State(t.Context()); (err == nil) != b.kept || err == nil && kept.Writable(st) != b.writable {
					t.Errorf("after %v, kept: %v", b.after, err)
				}
			}
			for _, call := range tc.fails {
				faulty.Fail(call, 0, nil)
			}
			p.Clock.Advance(time.Second)
			if st, err := s.State(t.Context()); err != nil || !s.Writable(st) {
				t.Errorf("after the store came back: %v", err)
			}
		})
	}
}

func TestUnavailableFromTheStart(t *testing.T) {
	t.Parallel()
	p, faulty, s := source(t)
	faulty.Fail(storetest.CallQuery, 1, store.ErrUnavailable) // the signing keys; the policy alone is not enough
	if _, err := s.State(t.Context()); !errors.Is(err, trust.ErrUnavailable) || !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if s.Latest() != nil {
		t.Error("something is believed")
	}
	// The store is left alone for a second, whoever asks.
	reads := faulty.Calls(storetest.CallGet)
	if _, err := s.Key(t.Context(), "any"); !errors.Is(err, trust.ErrUnavailable) || faulty.Calls(storetest.CallGet) != reads {
		t.Errorf("asked again at once: %v", err)
	}
	p.Clock.Advance(time.Second)
	if _, err := s.State(t.Context()); err != nil {
		t.Error(err)
	}
}

// slow is a store whose reads take their time, and count.
type slow struct {
	store.Store
	takes time.Duration
	mu    sync.Mutex
	reads int
}

func (s *slow) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return store.Document{}, fmt.Errorf("%s: %w", ref, ctx.Err())
	}
	return s.Store.Get(context.WithoutCancel(ctx), ref)
}

// fixed is a store of documents that never change, which has no goroutines of its own.
type fixed struct {
	store.Store
	documents map[string]json.RawMessage
}

func (f fixed) Get(_ context.Context, ref store.Ref) (store.Document, error) {
	if data, ok := f.documents[ref.ID]; ok {
		return store.Document{Ref: ref, Generation: 1, Data: data}, nil
	}
	return store.Document{}, store.ErrNotFound
}

func (fixed) Query(context.Context, store.Query) (store.Page, error) { return store.Page{}, nil }

func (fixed) Changes(context.Context, string, store.Position) iter.Seq2[store.Document, error] {
	return func(func(store.Document, error) bool) {}
}

func onlyPolicy(t testing.TB) store.Store {
	t.Helper()
	data, err := json.Marshal(policy.Default())
	if err != nil {
		t.Fatal(err)
	}
	return fixed{documents: map[string]json.RawMessage{"current": data}}
}

func TestOneLookForAll(t *testing.T) {
	t.Parallel()
	documents := onlyPolicy(t)
	synctest.Test(t, func(t *testing.T) {
		st := &slow{Store: documents, takes: time.Second}
		s := trust.NewSource(st, time.Now)
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := s.State(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if st.reads != 1 {
			t.Errorf("%d looks for one answer", st.reads)
		}
		// What is little older than fresh serves those who would wait.
		time.Sleep(2 * time.Second)
		group.Go(func() { _, _ = s.State(t.Context()) })
		synctest.Wait()
		before := time.Now()
		if _, err := s.State(t.Context()); err != nil || time.Since(before) != 0 {
			t.Errorf("waited %v: %v", time.Since(before), err)
		}
		group.Wait()
	})
}

func TestStoreThatHangs(t *testing.T) {
	t.Parallel()
	documents := onlyPolicy(t)
	synctest.Test(t, func(t *testing.T) {
		st := &slow{Store: documents}
		s := trust.NewSource(st, time.Now)
		if _, err := s.State(t.Context()); err != nil {
			t.Fatal(err)
		}
		st.takes = time.Hour
		time.Sleep(10 * time.Second)
		// The one who looks has waited long enough after seconds, and those who wait for it with it.
		var group sync.WaitGroup
		began := time.Now()
		for range 20 {
			group.Go(func() {
				if _, err := s.State(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("waited %v for a store that hangs", waited)
		}
		// From then on nobody waits but the one who looks again.
		time.Sleep(2 * time.Second)
		group.Go(func() { _, _ = s.State(t.Context()) })
		synctest.Wait()
		began = time.Now()
		if _, err := s.State(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("waited %v beside another: %v", time.Since(began), err)
		}
		group.Wait()
	})
}

func TestCallersOwnPatience(t *testing.T) {
	t.Parallel()
	documents := onlyPolicy(t)
	synctest.Test(t, func(t *testing.T) {
		st := &slow{Store: documents, takes: 2 * time.Second}
		s := trust.NewSource(st, time.Now)
		// A caller that goes away while it looks fails nobody else.
		var group sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		group.Go(func() { _, _ = s.State(ctx) })
		synctest.Wait()
		group.Go(func() {
			if _, err := s.State(t.Context()); err != nil {
				t.Error(err)
			}
		})
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		group.Go(func() {
			if _, err := s.State(impatient); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waited beyond its deadline: %v", err)
			}
		})
		cancel()
		group.Wait()
		if st.reads != 1 {
			t.Errorf("%d looks", st.reads)
		}
	})
}

func TestKeyStates(t *testing.T) {
	t.Parallel()
	p, _, s := source(t)
	st, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	current, ok := st.CurrentKey()
	if !ok {
		t.Fatal("no key is current")
	}
	for _, tc := range []struct {
		state    string
		verifies bool
	}{
		{trust.KeyNext, true}, {trust.KeyCurrent, true}, {trust.KeyPrevious, true},
		{trust.KeyRevoked, false}, {"", false}, {"Current", false}, {"compromised", false},
	} {
		rec := current
		rec.State = tc.state
		_, err := p.Store.Commit(t.Context(), store.Batch{
			Writes: []store.Write{{Ref: trust.SigningKeyRef(current.ID), Data: rec}}, Actor: "test", Cause: "test",
		})
		if err != nil {
			t.Fatal(err)
		}
		p.Clock.Advance(time.Second)
		if _, err := s.Key(t.Context(), current.ID); (err == nil) != tc.verifies ||
			err != nil && !errors.Is(err, token.ErrUnknownKey) && (tc.state != trust.KeyRevoked || auth.ReasonOf(err) != auth.Revoked) {
			t.Errorf("state %q: %v", tc.state, err)
		}
		st, err := s.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, signs := st.CurrentKey(); signs != (tc.state == trust.KeyCurrent) {
			t.Errorf("state %q: signs %v", tc.state, signs)
		}
		if rec, ok := st.SigningKey(current.ID); !ok || rec.State != tc.state {
			t.Errorf("state %q: no record of the key", tc.state)
		}
	}
}
