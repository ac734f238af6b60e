package security

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
)

var (
	start    = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	frontend = auth.MustSubject("isectech-frontend")
)

// from is a place that a proxy of ours tells of.
func from(address string) Source { return Source{Address: netip.MustParseAddr(address), Proven: true} }

// kinds are those of incidents, with their severities.
func kinds(found []Incident) []string {
	var names []string
	for _, i := range found {
		names = append(names, string(i.Kind)+" "+string(i.Severity))
	}
	return names
}

func TestRefused(t *testing.T) {
	t.Parallel()
	operator := auth.MustSubject("operator:ops@isectech.com")
	for name, tc := range map[string]struct {
		o    Observation
		want []string
	}{
		"replay":             {Observation{Reason: auth.Replayed}, []string{"replay_detected high"}},
		"forged":             {Observation{Reason: auth.BadSignature, Method: auth.MethodJWT}, []string{"auth_failed high"}},
		"expired":            {Observation{Reason: auth.Expired, Method: auth.MethodJWT}, []string{"auth_failed low"}},
		"malformed":          {Observation{Reason: auth.MalformedToken}, []string{"auth_failed medium"}},
		"bad certificate":    {Observation{Reason: auth.BadSignature, Method: auth.MethodMTLS}, []string{"invalid_certificate high"}},
		"old certificate":    {Observation{Reason: auth.Expired, Method: auth.MethodMTLS}, []string{"invalid_certificate high"}},
		"two identities":     {Observation{Reason: auth.IdentityMismatch, Method: auth.MethodMTLS}, []string{"identity_mismatch high"}},
		"revoked":            {Observation{Reason: auth.Revoked}, []string{"revoked_credential_used high"}},
		"quarantined":        {Observation{Reason: auth.Quarantined}, []string{"quarantined high"}},
		"unproven proxy":     {Observation{Reason: auth.UntrustedProxy}, []string{"untrusted_proxy high"}},
		"no scope":           {Observation{Reason: auth.InsufficientScope, Subject: frontend}, []string{"scope_violation medium"}},
		"no edge":            {Observation{Reason: auth.UntrustedEdge, Subject: frontend}, []string{"scope_violation medium"}},
		"a service as admin": {Observation{Reason: auth.InsufficientScope, Subject: frontend, Privileged: true}, []string{"privilege_violation high"}},
		"a mere operator":    {Observation{Reason: auth.InsufficientScope, Subject: operator, Privileged: true}, []string{"scope_violation medium"}},
		"too many":           {Observation{Reason: auth.RateLimited, Subject: frontend}, []string{"unusual_volume medium"}},
		"nothing shown":      {Observation{Reason: auth.NoCredentials}, nil},
		"our own trouble":    {Observation{Reason: auth.PolicyUnavailable}, nil},
		"and that of nonces": {Observation{Reason: auth.NonceUnavailable}, nil},
	} {
		tc.o.At = start
		if diff := cmp.Diff(tc.want, kinds(NewDetector().Refused(tc.o))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestClaimed(t *testing.T) {
	t.Parallel()
	i := NewDetector().Refused(Observation{At: start, Reason: auth.Replayed, Claimed: frontend, Source: from("203.0.113.7")})[0]
	want := Incident{
		Kind: ReplayDetected, Severity: High, ServiceName: "isectech-frontend", Reason: auth.Replayed, SourceNetwork: "203.0.113.0/24",
		Count: 1, Evidence: map[string]string{"service_name": "claimed"}, OccurredAt: start,
	}
	if diff := cmp.Diff(want, i); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRepeated(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason auth.Reason
		apart  time.Duration
		n      int
		want   string // found with the last alone; "": nothing
	}{
		"few scopes":    {auth.InsufficientScope, time.Second, scopeAttempts - 1, ""},
		"many scopes":   {auth.InsufficientScope, time.Second, scopeAttempts, "scope_violation high"},
		"slow scopes":   {auth.InsufficientScope, repeatWindow / (scopeAttempts - 1), scopeAttempts, ""},
		"few edges":     {auth.UntrustedEdge, time.Second, edgeAttempts - 1, ""},
		"many edges":    {auth.UntrustedEdge, time.Second, edgeAttempts, "privilege_violation high"},
		"one more edge": {auth.UntrustedEdge, time.Second, edgeAttempts + 1, ""},
	} {
		d := NewDetector()
		var found []Incident
		for i := range tc.n {
			found = d.Refused(Observation{At: start.Add(time.Duration(i) * tc.apart), Reason: tc.reason, Subject: frontend})
			// Another's refusals are another's.
			d.Refused(Observation{At: start, Reason: tc.reason, Subject: frontend, Environment: auth.Development})
		}
		got := ""
		if len(found) > 1 {
			got = kinds(found)[1]
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestBurst(t *testing.T) {
	t.Parallel()
	count := func(n int, o func(i int) Observation) (critical int) {
		d := NewDetector()
		for i := range n {
			for _, found := range d.Refused(o(i)) {
				if found.Severity == Critical {
					critical++
					if found.ServiceName != "" || found.Evidence["attempts"] != strconv.Itoa(failures) {
						t.Errorf("%+v", found)
					}
				}
			}
		}
		return critical
	}
	forged := func(i int) Observation {
		return Observation{At: start.Add(time.Duration(i) * time.Millisecond), Reason: auth.BadSignature, Source: from(fmt.Sprintf("203.0.113.%d", i%256))}
	}
	if n := count(10*failures, forged); n != 1 {
		t.Errorf("a burst is told %d times", n)
	}
	if n := count(failures-1, forged); n != 0 {
		t.Errorf("too few are told %d times", n)
	}
	for name, change := range map[string]func(i int, o *Observation){
		"clocks":   func(_ int, o *Observation) { o.Reason = auth.Expired },
		"slow":     func(i int, o *Observation) { o.At = start.Add(time.Duration(i) * failureWindow / (failures - 2)) },
		"all over": func(i int, o *Observation) { o.Source = from(fmt.Sprintf("10.%d.%d.1", i/256, i%256)) },
		"nowhere":  func(_ int, o *Observation) { o.Source = Source{} },
		"known":    func(_ int, o *Observation) { o.Reason = auth.UntrustedEdge },
	} {
		if n := count(10*failures, func(i int) Observation { o := forged(i); change(i, &o); return o }); n != 0 {
			t.Errorf("%s: told %d times", name, n)
		}
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	type use struct {
		after time.Duration
		where Source
		jti   string
	}
	for name, tc := range map[string]struct {
		uses []use
		want []string
	}{
		"one place":      {[]use{{0, from("10.0.0.1"), "a"}, {0, from("10.0.0.1"), "a"}}, nil},
		"two networks":   {[]use{{0, from("10.0.0.1"), "a"}, {time.Second, from("10.0.1.1"), "a"}}, []string{"token_shared high"}},
		"back and forth": {[]use{{0, from("10.0.0.1"), "a"}, {0, from("10.0.1.1"), "a"}, {0, from("10.0.0.1"), "a"}, {0, from("10.0.1.1"), "a"}}, []string{"token_shared high"}},
		"moved":          {[]use{{0, from("10.0.0.1"), "a"}, {sharedWindow, from("10.0.1.1"), "a"}}, nil},
		"two instances":  {[]use{{0, from("10.0.0.1"), "a"}, {0, from("10.0.0.2"), "a"}}, nil},
		"three":          {[]use{{0, from("10.0.0.1"), "a"}, {0, from("10.0.0.2"), "a"}, {0, from("10.0.0.3"), "a"}}, []string{"token_shared medium"}},
		"IPv6":           {[]use{{0, from("2001:db8:1::1"), "a"}, {0, from("2001:db8:2::1"), "a"}}, []string{"token_shared high"}},
		"one IPv6 site":  {[]use{{0, from("2001:db8:1:1::1"), "a"}, {0, from("2001:db8:1:2::1"), "a"}}, nil},
		"mapped":         {[]use{{0, from("10.0.0.1"), "a"}, {0, from("::ffff:10.0.0.9"), "a"}}, nil},
		"two tokens":     {[]use{{0, from("10.0.0.1"), "a"}, {0, from("10.0.1.1"), "b"}}, nil},
		"no token":       {[]use{{0, from("10.0.0.1"), ""}, {0, from("10.0.1.1"), ""}}, nil},
		"unproven":       {[]use{{0, from("10.0.0.1"), "a"}, {0, Source{Address: netip.MustParseAddr("10.0.1.1")}, "a"}}, nil},
	} {
		d := NewDetector()
		var found []Incident
		for _, u := range tc.uses {
			found = append(found, d.Used(Observation{At: start.Add(u.after), Subject: frontend, Source: u.where, TokenID: u.jti})...)
		}
		if diff := cmp.Diff(tc.want, kinds(found)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestVolume(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		minutes []int // requests in each
		want    []int // minutes in which something was told, in order
	}{
		"steady":       {[]int{300, 310, 290, 300, 305, 300, 300}, nil},
		"not yet":      {[]int{10, 10, 10, 90_000}, nil},
		"a jump":       {[]int{100, 100, 100, 100, 100, 100, 900}, []int{6}},
		"small":        {[]int{1, 1, 1, 1, 1, 1, 500}, nil},
		"growing":      {[]int{100, 200, 400, 800, 1600, 3200}, nil},
		"it goes on":   {[]int{100, 100, 100, 100, 100, 100, 5000, 5000, 5000}, []int{6, 7, 8}},
		"after a rest": {append(append([]int{300, 300, 300, 300, 300, 300}, make([]int, volumeForget)...), 5000), nil},
		"after a nap":  {[]int{300, 300, 300, 300, 300, 0, 0, 0, 0, 0, 5000}, []int{10}},
	} {
		d := NewDetector()
		var got []int
		for minute, n := range tc.minutes {
			for range n {
				if found := d.Used(Observation{At: start.Add(time.Duration(minute) * time.Minute), Subject: frontend}); len(found) > 0 {
					got = append(got, minute)
				}
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A million of everything in a row take no more memory than a few.
func TestDetectorIsBounded(t *testing.T) {
	d := NewDetector()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	subjects := make([]auth.Subject, 10_000)
	for i := range subjects {
		subjects[i] = auth.MustSubject("s" + strconv.Itoa(i))
	}
	before := heap()
	for i := range 1_000_000 {
		o := Observation{
			At: start, Subject: subjects[i%len(subjects)], Reason: auth.InsufficientScope, TokenID: strconv.Itoa(i),
			Source: Source{Address: netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 1}), Proven: true},
		}
		if d.Used(o); i%64 == 0 {
			d.Refused(o)
		}
	}
	if after := heap(); after > before+4<<20 {
		t.Errorf("%d bytes more", after-before)
	}
	runtime.KeepAlive(d)
}

func TestUsedAllocatesNothing(t *testing.T) {
	d := NewDetector()
	o := Observation{At: start, Subject: frontend, Environment: auth.Production, TokenID: "a", Source: from("10.0.0.1")}
	if n := testing.AllocsPerRun(100, func() { d.Used(o) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The table answers as a map does, but for what it has forgotten.
func TestTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		table, model := newTable[int](16), map[uint64]int{}
		for now := range rapid.IntRange(1, 200).Draw(t, "steps") {
			key := table.hash(rapid.StringMatching(`[a-z]`).Draw(t, "key"))
			v, mu := table.lock(key, int64(now+1))
			if *v != 0 && *v != model[key] {
				t.Fatalf("%d is %d, want %d", key, *v, model[key])
			}
			model[key]++
			*v = model[key]
			mu.Unlock()
			again, mu := table.lock(key, int64(now+1))
			if *again != model[key] {
				t.Fatalf("%d was forgotten at once", key)
			}
			mu.Unlock()
		}
	})
}

func TestKindsAreTypes(t *testing.T) {
	t.Parallel()
	all := Kinds()
	slices.Sort(all)
	if len(slices.Compact(all)) != 11 {
		t.Errorf("%v", all)
	}
	for _, k := range all {
		if k.Type() != "com.isectech.security."+string(k)+".v1" {
			t.Error(k.Type())
		}
	}
}

func BenchmarkUsed(b *testing.B) {
	d := NewDetector()
	o := Observation{At: start, Subject: frontend, Environment: auth.Production, TokenID: "Q5i8WXplc9DZhxJYQvzqZQ", Source: from("10.0.0.1")}
	b.ReportAllocs()
	for b.Loop() {
		d.Used(o)
	}
}
