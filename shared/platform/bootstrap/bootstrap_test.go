package bootstrap_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

var (
	now     = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	billing = auth.MustSubject("isectech-billing")
	entry   = policy.ServiceEntry{Environments: []string{"production"}, Scopes: []string{"service:discover"}}
)

// bare returns what writes trust into a platform where there is none, over a store that fails when told to.
func bare(t *testing.T) (*bootstrap.Platform, *storetest.Faulty) {
	t.Helper()
	clock := func() time.Time { return now }
	faulty := storetest.NewFaulty(storetest.New(t, clock))
	server, err := secretserver.Open("", clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &bootstrap.Platform{
		Store: faulty, Secrets: client, Now: clock, Actor: auth.MustSubject("operator:ops@isectech.com"), Cause: "test",
	}, faulty
}

// made lists the parts that a call made.
func made(parts []bootstrap.Part) []string {
	var names []string
	for _, p := range parts {
		if p.Created {
			names = append(names, p.Name)
		}
	}
	return names
}

func run(t *testing.T, p *bootstrap.Platform, want ...string) {
	t.Helper()
	parts, err := p.Run(t.Context(), policy.Default())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, made(parts)); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}

// entries counts what has been journaled.
func entries(t *testing.T, s store.Store) int {
	t.Helper()
	report, err := store.Verify(t.Context(), s, now)
	if err != nil || !report.Clean() {
		t.Fatalf("journal: %v %v", report.Faults, err)
	}
	return report.Entries
}

func versions(t *testing.T, p *bootstrap.Platform, secret string) int {
	t.Helper()
	all, err := p.Secrets.Versions(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	p, _ := bare(t)
	run(t, p, "policy", "signing key", "root CA")
	before := entries(t, p.Store)
	run(t, p)
	if n := entries(t, p.Store); n != before {
		t.Errorf("%d entries became %d by a call that had nothing to do", before, n)
	}
	for _, name := range []string{trust.SigningKeySecret, bootstrap.RootCASecret} {
		if n := versions(t, p, name); n != 1 {
			t.Errorf("%s has %d versions", name, n)
		}
	}
	st, err := trust.NewSource(p.Store, p.Now).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := st.CurrentKey(); !ok || len(st.Signing) != 1 {
		t.Errorf("%d signing keys, one of them current: %v", len(st.Signing), ok)
	}
	if doc, err := p.Store.Get(t.Context(), trust.PolicyVersionRef(1)); err != nil || doc.UpdatedBy != p.Actor.String() {
		t.Errorf("version 1 of the policy by %s: %v", doc.UpdatedBy, err)
	}
}

// A call that was cut off between a secret and its record is made good by the next one.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for commits := range 3 {
		p, faulty := bare(t)
		cut := &cutOff{Faulty: faulty, after: commits}
		broken := *p
		broken.Store = cut
		if _, err := broken.Run(t.Context(), policy.Default()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("cut off after %d commits: %v", commits, err)
		}
		all := []string{"policy", "signing key", "root CA"}
		run(t, p, all[commits:]...)
		run(t, p)
	}

	p, faulty := bare(t)
	run(t, p, "policy", "signing key", "root CA")
	faulty.Fail(storetest.CallCommit, 1, store.ErrUnavailable)
	if _, err := p.AddAPIKey(t.Context(), billing); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if created, err := p.AddAPIKey(t.Context(), billing); !created || err != nil {
		t.Fatalf("after the cut: %v %v", created, err)
	}
	var listed trust.APIKeys
	doc, err := p.Store.Get(t.Context(), trust.APIKeysRef(billing))
	if err != nil || doc.Decode(&listed) != nil || !cmp.Equal(listed.Versions, []int64{2}) {
		t.Errorf("versions %v: %v; what has no record is no key", listed.Versions, err)
	}
}

// cutOff loses the store after so many commits.
type cutOff struct {
	*storetest.Faulty
	after int
}

func (c *cutOff) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	if c.after--; c.after < 0 {
		return nil, store.ErrUnavailable
	}
	return c.Faulty.Commit(ctx, b)
}

// A read that fails is no "there is none".
func TestFailedReadsMakeNothing(t *testing.T) {
	t.Parallel()
	for _, call := range []string{storetest.CallGet, storetest.CallQuery} {
		p, faulty := bare(t)
		run(t, p, "policy", "signing key", "root CA")
		before := entries(t, p.Store)
		faulty.Fail(call, -1, store.ErrUnavailable)
		if parts, err := p.Run(t.Context(), policy.Default()); !errors.Is(err, store.ErrUnavailable) || len(made(parts)) > 0 {
			t.Errorf("%s fails: made %v, %v", call, made(parts), err)
		}
		faulty.Fail(call, 0, nil)
		if n := entries(t, p.Store); n != before {
			t.Errorf("%s fails: %d entries became %d", call, before, n)
		}
	}
}

// What has a record is never made again, even where nobody can read its secret any more.
func TestUnreadableSecrets(t *testing.T) {
	t.Parallel()
	p, _ := bare(t)
	run(t, p, "policy", "signing key", "root CA")
	if _, err := p.AddService(t.Context(), billing, entry); err != nil {
		t.Fatal(err)
	}
	names := []string{trust.SigningKeySecret, bootstrap.RootCASecret, trust.APIKeySecret(billing)}
	for _, name := range names {
		all, err := p.Secrets.Versions(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Secrets.Destroy(t.Context(), name, all[0].Number, all[0].Etag); err != nil {
			t.Fatal(err)
		}
	}
	run(t, p)
	if parts, err := p.AddService(t.Context(), billing, entry); err != nil || len(made(parts)) > 0 {
		t.Errorf("made %v: %v", made(parts), err)
	}
	for _, name := range names {
		if n := versions(t, p, name); n != 1 {
			t.Errorf("%s got another version", name)
		}
		if _, err := p.Secrets.Access(t.Context(), name, 1); err == nil {
			t.Errorf("%s can be read", name)
		}
	}
}

// A signing key whose record was taken away is an operator's matter too.
func TestLostSigningKey(t *testing.T) {
	t.Parallel()
	p, _ := bare(t)
	run(t, p, "policy", "signing key", "root CA")
	page, err := p.Store.Query(t.Context(), store.Query{Collection: store.SigningKeys})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Store.Commit(t.Context(), store.Batch{
		Writes: []store.Write{{Ref: page.Documents[0].Ref}}, Actor: "test", Cause: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(t.Context(), policy.Default()); err == nil {
		t.Error("a signing key was made again, or is said to be there")
	}
}

func TestRaces(t *testing.T) {
	t.Parallel()
	p, _ := bare(t)
	const racers = 8
	counts := make(map[string]int)
	var mu sync.Mutex
	race := func(call func() ([]bootstrap.Part, error)) {
		var group sync.WaitGroup
		for range racers {
			group.Go(func() {
				parts, err := call()
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, name := range made(parts) {
					counts[name]++
				}
			})
		}
		group.Wait()
	}
	race(func() ([]bootstrap.Part, error) { return p.Run(t.Context(), policy.Default()) })
	race(func() ([]bootstrap.Part, error) { return p.AddService(t.Context(), billing, entry) })
	want := map[string]int{
		"policy": 1, "signing key": 1, "root CA": 1, "isectech-billing policy entry": 1, "isectech-billing API key": 1,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("how often each was made (-want +got):\n%s", diff)
	}
	st, err := trust.NewSource(p.Store, p.Now).State(t.Context())
	if err != nil || len(st.Signing) != 1 {
		t.Errorf("%d signing keys: %v", len(st.Signing), err)
	}
	if _, err := trust.NewKeyRing(p.Store, p.Secrets, p.Now).Key(t.Context(), billing, keyID(t, p)); err != nil {
		t.Errorf("the key that won cannot be read: %v", err)
	}
}

func keyID(t *testing.T, p *bootstrap.Platform) string {
	t.Helper()
	var listed trust.APIKeys
	doc, err := p.Store.Get(t.Context(), trust.APIKeysRef(billing))
	if err != nil || doc.Decode(&listed) != nil || len(listed.Versions) != 1 {
		t.Fatalf("versions %v: %v", listed.Versions, err)
	}
	return trust.KeyID(listed.Versions[0])
}

// Different services added at once all end up in the policy.
func TestServicesAddedAtOnce(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t).Bootstrap()
	names := []string{"isectech-a", "isectech-b", "isectech-c", "isectech-d"}
	var group sync.WaitGroup
	for _, name := range names {
		group.Go(func() {
			if parts, err := p.AddService(t.Context(), auth.MustSubject(name), entry); err != nil || len(made(parts)) != 2 {
				t.Errorf("%s: made %v, %v", name, made(parts), err)
			}
		})
	}
	group.Wait()
	st, err := trust.NewSource(p.Store, p.Now).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, ok := st.Resolve(name); !ok {
			t.Errorf("%s is not in the policy", name)
		}
	}
	for v := int64(1); v <= st.Policy.Version(); v++ {
		if _, err := p.Store.Get(t.Context(), trust.PolicyVersionRef(v)); err != nil {
			t.Errorf("version %d is not kept: %v", v, err)
		}
	}
}

func TestAddServiceRefuses(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t).Bootstrap()
	for _, tc := range []struct {
		name  string
		entry policy.ServiceEntry
		want  error
	}{
		{"operator:ops@isectech.com", entry, bootstrap.ErrNotAService},
		{auth.PlatformAudience, entry, policy.ErrInvalid},
		{"backend", entry, policy.ErrInvalid},
		{"isectech-x", policy.ServiceEntry{Environments: []string{"moon"}}, policy.ErrInvalid},
		{"isectech-x", policy.ServiceEntry{Environments: entry.Environments, Scopes: []string{"root"}}, policy.ErrInvalid},
		{"isectech-x", policy.ServiceEntry{Environments: entry.Environments, Aliases: []string{"backend"}}, policy.ErrInvalid},
		{"isectech-x", policy.ServiceEntry{}, policy.ErrInvalid},
	} {
		name := auth.MustSubject(tc.name)
		if parts, err := p.AddService(t.Context(), name, tc.entry); !errors.Is(err, tc.want) || len(parts) > 0 {
			t.Errorf("%s %+v: %v %v", tc.name, tc.entry, parts, err)
		}
		if _, err := p.Secrets.Versions(t.Context(), trust.APIKeySecret(name)); err == nil {
			t.Errorf("%s was given a key", tc.name)
		}
	}
}
