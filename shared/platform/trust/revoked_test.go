package trust_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const (
	caller  = "isectech-api-caller"
	backend = "isectech-backend-services"
)

// revoke writes revocations as they are.
func revoke(t testing.TB, s store.Store, list ...trust.Revocation) {
	t.Helper()
	for len(list) > 0 {
		n := min(len(list), store.MaxWrites)
		b := store.Batch{Actor: "test", Cause: "test"}
		for _, r := range list[:n] {
			r.Actor = "test"
			b.Writes = append(b.Writes, store.Write{Ref: trust.RevocationRef(r), Data: r, ExpiresAt: r.ExpiresAt})
		}
		if _, err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		list = list[n:]
	}
}

func quarantine(t testing.TB, s store.Store, q trust.Quarantine) {
	t.Helper()
	q.Actor = "test"
	_, err := s.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: trust.QuarantineRef(q.Service), Data: q, ExpiresAt: q.ExpiresAt},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func stateOf(t testing.TB, s *trust.Source) *trust.State {
	t.Helper()
	st, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Each kind takes back what it names and nothing else.
func TestRevoked(t *testing.T) {
	t.Parallel()
	p, _, s := source(t)
	now := p.Clock.Now()
	bearer := auth.Principal{
		Subject: auth.MustSubject(caller), Method: auth.MethodJWT, TokenID: "AAAA", KeyID: "key-1", IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 600,
	}
	signer := auth.Principal{Subject: auth.MustSubject(caller), Method: auth.MethodAPIKey, KeyID: "k2"}
	holder := auth.Principal{Subject: auth.MustSubject(caller), Method: auth.MethodMTLS, Serial: "1f"}
	with := func(p auth.Principal, change func(*auth.Principal)) auth.Principal { change(&p); return p }
	all := map[string]auth.Principal{
		"bearer":           bearer,
		"issued later":     with(bearer, func(p *auth.Principal) { p.TokenID, p.IssuedAt = "BBBB", now.Unix()+1 }),
		"issued before":    with(bearer, func(p *auth.Principal) { p.TokenID, p.IssuedAt = "CCCC", now.Unix()-1 }),
		"another's":        with(bearer, func(p *auth.Principal) { p.TokenID, p.Subject = "DDDD", auth.MustSubject(backend) }),
		"by another key":   with(bearer, func(p *auth.Principal) { p.TokenID, p.KeyID = "EEEE", "k2" }),
		"signer":           signer,
		"signer, next key": with(signer, func(p *auth.Principal) { p.KeyID = "k3" }),
		"another signer":   with(signer, func(p *auth.Principal) { p.Subject = auth.MustSubject(backend) }),
		"holder":           holder,
		"bound token":      with(bearer, func(p *auth.Principal) { p.TokenID, p.Serial, p.IssuedAt = "FFFF", "1f", now.Unix()+9 }),
		"another holder":   with(holder, func(p *auth.Principal) { p.Serial = "1f0" }),
		"silent holder":    with(holder, func(p *auth.Principal) { p.Serial = "" }),
	}
	for name, tc := range map[string]struct {
		revoke trust.Revocation
		want   []string
	}{
		"nothing":    {trust.Revocation{}, nil},
		"jti":        {trust.Revocation{Kind: trust.RevokedToken, Value: "AAAA"}, []string{"bearer"}},
		"service":    {trust.Revocation{Kind: trust.RevokedSubject, Value: caller, RevokedAt: now}, []string{"bearer", "issued before", "by another key"}},
		"kid":        {trust.Revocation{Kind: trust.RevokedKey, Value: "k2"}, []string{"by another key"}},
		"API key":    {trust.Revocation{Kind: trust.RevokedAPIKey, Service: caller, Value: "k2"}, []string{"signer"}},
		"serial":     {trust.Revocation{Kind: trust.RevokedSerial, Value: "1f"}, []string{"holder", "bound token", "silent holder"}},
		"some later": {trust.Revocation{Kind: "mood", Value: "AAAA"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _, s := source(t)
			if tc.revoke.Kind != "" {
				revoke(t, p.Store, tc.revoke)
			}
			st := stateOf(t, s)
			want := make(map[string]bool)
			for _, one := range tc.want {
				want[one] = true
			}
			for who, principal := range all {
				if got := st.Revoked(principal); got != want[who] {
					t.Errorf("%s: revoked %v", who, got)
				}
			}
			if got := st.Revoked(all["another's"], all["another signer"], all["another holder"]); got {
				t.Error("three that are good together are not")
			}
			if name == "serial" && !st.Revoked(all["issued later"], holder) {
				t.Error("one bad credential among others is overlooked")
			}
		})
	}
	if stateOf(t, s).Revoked(bearer) {
		t.Error("tests share a store")
	}
}

// What one instance does, another goes by as soon as it has looked, a second later.
func TestAcrossInstances(t *testing.T) {
	t.Parallel()
	p, faulty, a := source(t)
	b := trust.NewSource(faulty, p.Clock.Now)
	bearer := auth.Principal{Subject: auth.MustSubject(caller), TokenID: "AAAA"}
	service := auth.MustSubject(backend)
	if stateOf(t, a).Revoked(bearer) || stateOf(t, b).Revoked(bearer) || stateOf(t, b).Quarantined(service) {
		t.Fatal("revoked before")
	}
	revoke(t, p.Store, trust.Revocation{Kind: trust.RevokedToken, Value: "AAAA", ExpiresAt: p.Clock.Now().Add(time.Hour)})
	quarantine(t, p.Store, trust.Quarantine{Service: service, Reason: "r", Since: p.Clock.Now(), ExpiresAt: p.Clock.Now().Add(10 * time.Second)})
	a.Look()
	if st := stateOf(t, a); !st.Revoked(bearer) || !st.Quarantined(service) {
		t.Error("the instance that did it goes on as before")
	}
	if stateOf(t, b).Revoked(bearer) {
		t.Error("the other one looked sooner than it needs to")
	}
	p.Clock.Advance(time.Second)
	st := stateOf(t, b)
	if !st.Revoked(bearer) || !st.Quarantined(service) || st.Quarantined(auth.MustSubject(caller)) {
		t.Error("the other one goes on as before")
	}
	want := []trust.Quarantine{{Service: service, Reason: "r", Actor: "test", Since: p.Clock.Now().Add(-time.Second), ExpiresAt: p.Clock.Now().Add(9 * time.Second)}}
	if diff := cmp.Diff(want, st.Quarantines(), cmp.Comparer(func(a, b auth.Subject) bool { return a == b })); diff != "" {
		t.Errorf("quarantines (-want +got):\n%s", diff)
	}

	// The end is exact, whatever is read, and without the store too.
	for _, call := range []string{storetest.CallGet, storetest.CallChanges} {
		faulty.Fail(call, -1, store.ErrUnavailable)
	}
	p.Clock.Advance(9*time.Second - time.Microsecond)
	if st := stateOf(t, b); !st.Quarantined(service) || !st.Revoked(bearer) {
		t.Error("ended early")
	}
	p.Clock.Advance(time.Microsecond)
	if st := stateOf(t, b); st.Quarantined(service) || len(st.Quarantines()) != 0 || !st.Revoked(bearer) {
		t.Error("did not end")
	}
	for _, call := range []string{storetest.CallGet, storetest.CallChanges} {
		faulty.Fail(call, 0, nil)
	}

	// One that is lifted is gone.
	quarantine(t, p.Store, trust.Quarantine{Service: service})
	p.Clock.Advance(2 * time.Second)
	if !stateOf(t, b).Quarantined(service) {
		t.Error("not quarantined again")
	}
	_, err := p.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{{Ref: trust.QuarantineRef(service)}}})
	if err != nil {
		t.Fatal(err)
	}
	p.Clock.Advance(time.Second)
	if stateOf(t, b).Quarantined(service) {
		t.Error("not lifted")
	}
}

// An instance that was away for longer than deletions are remembered reads everything anew.
func TestLongAway(t *testing.T) {
	t.Parallel()
	p, _, _ := source(t)
	s := trust.NewSource(forgetful{p.Store}, p.Clock.Now)
	service := auth.MustSubject(backend)
	quarantine(t, p.Store, trust.Quarantine{Service: service})
	if !stateOf(t, s).Quarantined(service) {
		t.Fatal("not quarantined")
	}
	_, err := p.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{{Ref: trust.QuarantineRef(service)}}})
	if err != nil {
		t.Fatal(err)
	}
	p.Clock.Advance(13 * time.Hour)
	if stateOf(t, s).Quarantined(service) {
		t.Error("still quarantined")
	}
}

// A look that is cut short goes on where it stopped, and counts only when it got to the end.
func TestCutShort(t *testing.T) {
	t.Parallel()
	p, _, _ := source(t)
	var list []trust.Revocation
	for i := range 3000 {
		list = append(list, trust.Revocation{Kind: trust.RevokedToken, Value: fmt.Sprintf("t%d", i), ExpiresAt: p.Clock.Now().Add(time.Hour)})
	}
	revoke(t, p.Store, list...)
	cut := &cutFeed{Store: p.Store, after: 1200}
	s := trust.NewSource(cut, p.Clock.Now)
	for range 2 {
		if _, err := s.State(t.Context()); !errors.Is(err, trust.ErrUnavailable) {
			t.Fatalf("half a set counts: %v", err)
		}
		p.Clock.Advance(time.Second)
	}
	st := stateOf(t, s)
	if got := st.RevokedTokens(); got != 3000 {
		t.Errorf("%d are known", got)
	}
	if cut.yielded > 3000+3*store.MaxWrites {
		t.Errorf("%d documents were read", cut.yielded)
	}
	// While nothing changes, a look reads next to nothing and gives the same set.
	cut.after, cut.yielded = 0, 0
	p.Clock.Advance(time.Second)
	if again := stateOf(t, s); again == st || cut.yielded > store.MaxWrites {
		t.Errorf("%d documents were read again", cut.yielded)
	}
}

// What cannot be read lets nobody in, and it does not help to look again.
func TestDamagedRevocation(t *testing.T) {
	t.Parallel()
	p, _, s := source(t)
	for range 3 {
		p.Clock.Advance(time.Second)
		stateOf(t, s)
	}
	_, err := p.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: store.Ref{Collection: store.Revocations, ID: "service_name:x"}, Data: map[string]any{"kind": "service_name", "value": "../x", "revoked_at": "2026-01-04T12:00:00Z"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.Clock.Advance(59 * time.Second)
	stateOf(t, s)
	for range 3 {
		p.Clock.Advance(time.Second)
		if _, err := s.State(t.Context()); !errors.Is(err, trust.ErrUnavailable) || !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("got %v", err)
		}
	}
}

// Revocations over the hours leave no more behind than those of the last minutes.
func TestRevocationsComeAndGo(t *testing.T) {
	t.Parallel()
	clock := platformtest.NewClock(storetest.Start)
	flood := &flooded{Store: onlyPolicy(t), now: clock.Now}
	s := trust.NewSource(flood, clock.Now)
	const (
		rounds, perRound = 50, 2000
		lives            = 16 * time.Minute
	)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), 0
	for round := range rounds {
		flood.round(round, perRound, lives)
		clock.Advance(time.Minute)
		st := stateOf(t, s)
		most = max(most, st.RevokedTokens())
		if !st.Revoked(auth.Principal{TokenID: fmt.Sprintf("%d-%d", round, perRound-1)}) {
			t.Fatalf("round %d: the newest is not revoked", round)
		}
	}
	if most > 20*perRound {
		t.Errorf("up to %d were remembered of %d that live", most, 17*perRound)
	}
	if grown := int64(heap()) - int64(before); grown > 32<<20 {
		t.Errorf("%d MiB more than before", grown>>20)
	}
	clock.Advance(lives + time.Minute)
	flood.documents = nil
	if got := stateOf(t, s).RevokedTokens(); got != 0 {
		t.Errorf("%d are remembered after all have expired", got)
	}
	t.Logf("at most %d remembered", most)
}

func TestRevocationRefs(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, value := range []string{
		"a", "A", "sha256", "sha256:a", "ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs", "sha256:ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs",
		"with space", "a/b", "..", ".", "__a__", "ü", strings.Repeat("x", 128), strings.Repeat("x", 129), "a:b",
	} {
		for _, r := range []trust.Revocation{
			{Kind: trust.RevokedToken, Value: value}, {Kind: trust.RevokedKey, Value: value},
			{Kind: trust.RevokedAPIKey, Service: caller, Value: value}, {Kind: trust.RevokedAPIKey, Service: backend, Value: value},
		} {
			ref := trust.RevocationRef(r)
			if err := ref.Validate(); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
			name := fmt.Sprintf("%s %s %q", r.Kind, r.Service, r.Value)
			if other, taken := seen[ref.ID]; taken {
				t.Errorf("%s and %s share %s", name, other, ref)
			}
			seen[ref.ID] = name
		}
	}
}

func TestParseSerial(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1f": "1f", "1F": "1f", "001f": "1f", "00:1F": "1f", "0A:bc": "abc", strings.Repeat("f", 64): strings.Repeat("f", 64),
		"": "", "0": "", "00:00": "", "0x1f": "", "1 f": "", "1:f": "", "1f:": "", ":": "", "-1": "", "g": "", strings.Repeat("f", 65): "", "ſ": "",
	} {
		got, err := trust.ParseSerial(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func FuzzParseSerial(f *testing.F) {
	for _, s := range []string{"", "0", "1f", "00:1F", "g", "1:f", "ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := trust.ParseSerial(s)
		if err != nil {
			return
		}
		if again, err := trust.ParseSerial(got); err != nil || again != got || strings.HasPrefix(got, "0") || strings.ToLower(got) != got {
			t.Errorf("%q became %q, and that %q, %v", s, got, again, err)
		}
	})
}

func TestRevokedDoesNotAllocate(t *testing.T) {
	p, _, s := source(t)
	revoke(t, p.Store, trust.Revocation{Kind: trust.RevokedToken, Value: "AAAA"}, trust.Revocation{Kind: trust.RevokedSubject, Value: backend},
		trust.Revocation{Kind: trust.RevokedSerial, Value: "1f"})
	quarantine(t, p.Store, trust.Quarantine{Service: auth.MustSubject(backend)})
	st := stateOf(t, s)
	credentials := []auth.Principal{{Subject: auth.MustSubject(caller), TokenID: "BBBB", Serial: "1e"}}
	if n := testing.AllocsPerRun(100, func() {
		if st.Revoked(credentials...) || st.Revoked(credentials[0]) || st.Quarantined(credentials[0].Subject) {
			t.Fatal("revoked")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRevoked(b *testing.B) {
	for name, n := range map[string]int{"none": 0, "100,000": 100_000} {
		b.Run(name, func(b *testing.B) {
			clock := platformtest.NewClock(storetest.Start)
			flood := &flooded{Store: onlyPolicy(b), now: clock.Now}
			flood.round(0, n, time.Hour)
			st := stateOf(b, trust.NewSource(flood, clock.Now))
			p := auth.Principal{Subject: auth.MustSubject(caller), TokenID: "BBBB"}
			b.ReportAllocs()
			for b.Loop() {
				if st.Revoked(p) || st.Quarantined(p.Subject) {
					b.Fatal("revoked")
				}
			}
		})
	}
}
