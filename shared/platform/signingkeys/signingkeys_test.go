package signingkeys_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

var asked = signingkeys.Request{Begin: true, Actor: "operator:ops@isectech.com", Cause: "test"}

func keysOf(p *platformtest.Platform) *signingkeys.Keys {
	return &signingkeys.Keys{Store: p.Store, Secrets: p.Secrets, Now: p.Clock.Now}
}

func rotate(t *testing.T, k *signingkeys.Keys, req signingkeys.Request) signingkeys.Report {
	t.Helper()
	report, err := k.Rotate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// count counts the keys in each state.
func count(t *testing.T, k *signingkeys.Keys) map[string]int {
	t.Helper()
	records, err := k.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, r := range records {
		n[r.State]++
	}
	return n
}

// The secret that a record names holds the record's key, and the journal says who changed what.
func TestRecords(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	k := keysOf(p)
	rotate(t, k, asked)
	p.Clock.Advance(time.Hour)
	rotate(t, k, asked)
	records, err := k.List(t.Context())
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for _, r := range records {
		value, err := p.Secrets.Access(t.Context(), trust.SigningKeySecret, r.SecretVersion)
		if err != nil {
			t.Fatal(err)
		}
		private, algorithm, err := token.ParsePrivateKey(value.Reveal())
		if err != nil || algorithm != r.Algorithm {
			t.Fatalf("%s %v", algorithm, err)
		}
		public, err := token.ParseJWK(r.JWK)
		if err != nil {
			t.Fatal(err)
		}
		if kid, err := token.Thumbprint(private.Public()); err != nil || kid != r.ID || public.ID != r.ID {
			t.Errorf("key %s has the record %s", kid, r.ID)
		}
		entries, err := store.Entries(t.Context(), p.Store, trust.SigningKeyRef(r.ID).String(), 0, 10)
		if err != nil || len(entries) == 0 || entries[len(entries)-1].Actor != asked.Actor {
			t.Errorf("journal of %s: %v, %v", r.ID, entries, err)
		}
		if strings.Contains(string(r.JWK), `"d"`) {
			t.Error("a private key in a record")
		}
	}
	if report, err := store.Verify(t.Context(), p.Store, p.Clock.Now()); err != nil || !report.Clean() {
		t.Errorf("journal: %v, %v", report.Faults, err)
	}
}

// Without anyone asking keys turn once in a month, each long known before it signs.
func TestOnSchedule(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	k := keysOf(p)
	tick := signingkeys.Request{Actor: "isectech-authz", Cause: "tick"}
	var done []string
	for range 65 * 24 {
		for _, step := range rotate(t, k, tick).Done {
			done = append(done, step.Kind)
		}
		p.Clock.Advance(time.Hour)
	}
	once := []string{signingkeys.Create, signingkeys.Promote, signingkeys.Retire}
	if diff := cmp.Diff(append(once, once...), done); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// Nothing is made where nothing is: a first key is an operator's to make.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	clock := platformtest.NewClock(time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC))
	v := &vault{now: clock.Now}
	k := &signingkeys.Keys{Store: storetest.New(t, clock.Now), Secrets: v, Now: clock.Now}
	if _, err := k.Rotate(t.Context(), asked); !errors.Is(err, signingkeys.ErrNoKeys) {
		t.Errorf("got %v", err)
	}
	if err := k.Revoke(t.Context(), "kid", "test", "test"); !errors.Is(err, store.ErrNotFound) || len(v.versions) > 0 {
		t.Errorf("got %v, %d keys", err, len(v.versions))
	}
	bad := asked
	bad.Algorithm = token.HS256
	if _, err := k.Rotate(t.Context(), bad); !errors.Is(err, signingkeys.ErrAlgorithm) {
		t.Errorf("got %v", err)
	}
}

// However many ask at once, one key is made, and one takes the place of one that is revoked.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	k := keysOf(p)
	all := func(call func(context.Context) error) {
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := call(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	all(func(ctx context.Context) error {
		_, err := k.Rotate(ctx, asked)
		return err
	})
	if diff := cmp.Diff(map[string]int{trust.KeyCurrent: 1, trust.KeyNext: 1}, count(t, k)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	first := p.Issuer.Signer.Public().ID
	all(func(ctx context.Context) error { return k.Revoke(ctx, first, "test", "test") })
	if diff := cmp.Diff(map[string]int{trust.KeyCurrent: 1, trust.KeyRevoked: 1}, count(t, k)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// Keys that are revoked one after another stay within what trust reads, and what is forgotten is the oldest.
func TestManyRevocations(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	k := keysOf(p)
	for range 60 {
		st, err := trust.NewSource(p.Store, p.Clock.Now).State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		current, ok := st.CurrentKey()
		if !ok {
			t.Fatal("no key signs")
		}
		if err := k.Revoke(t.Context(), current.ID, "test", "test"); err != nil {
			t.Fatal(err)
		}
		p.Clock.Advance(time.Second)
	}
	if n := count(t, k); n[trust.KeyCurrent] != 1 || n[trust.KeyRevoked] > 40 {
		t.Errorf("keys %v", n)
	}
	if _, err := k.Rotate(t.Context(), asked); !errors.Is(err, signingkeys.ErrTooMany) {
		t.Errorf("got %v", err)
	}
	p.Clock.Advance(time.Hour)
	rotate(t, k, asked)
	versions, err := p.Secrets.Versions(t.Context(), trust.SigningKeySecret)
	if err != nil {
		t.Fatal(err)
	}
	alive, records := 0, 0
	for _, v := range versions {
		if v.State != secrets.Destroyed {
			alive++
		}
	}
	for _, n := range count(t, k) {
		records += n
	}
	if alive != records || records > 40 {
		t.Errorf("%d private keys for %d records", alive, records)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	if err := signingkeys.DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*signingkeys.Policy){
		"published too short": func(p *signingkeys.Policy) { p.PublishBefore = 10*time.Minute - 1 },
		"retired too early":   func(p *signingkeys.Policy) { p.RetireAfter = 21*time.Minute - 1 },
		"rotated too often":   func(p *signingkeys.Policy) { p.RotateEvery = 30 * time.Minute },
		"forgotten too early": func(p *signingkeys.Policy) { p.ForgetAfter = time.Minute },
		"nothing said":        func(p *signingkeys.Policy) { *p = signingkeys.Policy{} },
	} {
		p := signingkeys.DefaultPolicy()
		edit(&p)
		if p.Validate() == nil {
			t.Errorf("%s: no fault is found", name)
		}
	}
}
