package balance

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/registry"
)

// clock is moved by tests.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func endpoint(id string, weight int, where ...string) Endpoint {
	where = append(where, "", "")
	return Endpoint{
		Choice: registry.Choice{ServiceID: id, URL: "https://" + id + ".example"}, Weight: weight,
		Region: where[0], Zone: where[1], Status: registry.Healthy,
	}
}

// many returns n endpoints of weight 1.
func many(n int) []Endpoint {
	list := make([]Endpoint, n)
	for i := range list {
		list[i] = endpoint(fmt.Sprintf("a-%d", i), 1)
	}
	return list
}

func pick(t testing.TB, b *Balancer) Pick {
	t.Helper()
	p, err := b.Pick()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fail makes an instance fail so many times in a row.
func fail(t testing.TB, b *Balancer, id string, times int) {
	t.Helper()
	for tries := 0; times > 0; tries++ {
		if tries > 10_000 {
			t.Fatalf("%s is not picked", id)
		}
		p := pick(t, b)
		if p.ServiceID != id {
			p.Done(Ignored)
			continue
		}
		p.Done(Failure)
		times--
	}
}

// counts picks so often and returns how often each was picked.
func counts(t testing.TB, b *Balancer, picks int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range picks {
		p := pick(t, b)
		got[p.ServiceID]++
		p.Done(Success)
	}
	return got
}

// shareOf returns what of the picks each got, in whole percent.
func shareOf(t testing.TB, b *Balancer) map[string]int {
	const picks = 20_000
	got := counts(t, b, picks)
	for id, n := range got {
		got[id] = int(math.Round(float64(n) * 100 / picks))
	}
	return got
}

func TestShares(t *testing.T) {
	t.Parallel()
	abc := []Endpoint{endpoint("a", 1), endpoint("b", 3), endpoint("c", 6), endpoint("none", 0)}
	degraded, unhealthy, stopping := endpoint("d", 1), endpoint("u", 1), endpoint("s", 1)
	degraded.Status, unhealthy.Status, stopping.Status = registry.Degraded, registry.Unhealthy, registry.Stopping
	threeZones := []Endpoint{
		endpoint("a1", 1, "r", "a"), endpoint("b1", 1, "r", "b"), endpoint("c1", 1, "r", "c"), endpoint("c2", 1, "r", "c"),
	}
	tests := map[string]struct {
		options Options
		set     []Endpoint
		open    []string
		want    map[string]int
		panics  bool
	}{
		"by weight":        {set: abc, want: map[string]int{"a": 10, "b": 30, "c": 60}},
		"healthy first":    {set: append(many(1), degraded, unhealthy, stopping), want: map[string]int{"a-0": 100}},
		"degraded next":    {set: []Endpoint{degraded, unhealthy, stopping}, want: map[string]int{"d": 100}},
		"desperate":        {set: []Endpoint{unhealthy, stopping}, want: map[string]int{"u": 100}, panics: true},
		"one is out":       {set: abc, open: []string{"b"}, want: map[string]int{"a": 14, "c": 86}},
		"half may be out":  {set: many(4), open: []string{"a-0", "a-1"}, want: map[string]int{"a-2": 50, "a-3": 50}},
		"the third is not": {set: many(4), open: []string{"a-0", "a-1", "a-2"}, want: map[string]int{"a-2": 50, "a-3": 50}, panics: true},
		"nor the only one": {set: many(1), open: []string{"a-0"}, want: map[string]int{"a-0": 100}, panics: true},
		// A quarter of the instances, a third of the callers: three quarters of the calls stay.
		"small zone": {
			options: Options{Region: "r", Zone: "a"}, set: threeZones,
			want: map[string]int{"a1": 75, "c1": 13, "c2": 13},
		},
		"zone that suffices": {options: Options{Region: "r", Zone: "c"}, set: threeZones, want: map[string]int{"c1": 50, "c2": 50}},
		// What is left of c is as much as each other zone.
		"zone that has lost one": {
			options: Options{Region: "r", Zone: "c"}, set: threeZones, open: []string{"c1"},
			want: map[string]int{"c2": 100},
		},
		"zone that has lost all": {
			options: Options{Region: "r", Zone: "a"}, set: threeZones, open: []string{"a1"},
			want: map[string]int{"c1": 50, "c2": 50},
		},
		"zone without instances": {
			options: Options{Region: "r", Zone: "z"}, set: threeZones,
			want: map[string]int{"a1": 25, "b1": 25, "c1": 25, "c2": 25},
		},
		"region": {
			options: Options{Region: "r"}, set: []Endpoint{endpoint("near", 1, "r"), endpoint("far", 1, "q")},
			want: map[string]int{"near": 100},
		},
		"region that is small": {
			options: Options{Region: "r"}, set: []Endpoint{endpoint("near", 1, "r"), endpoint("far", 3, "q")},
			want: map[string]int{"near": 50, "far": 50},
		},
		"zones of another region": {
			options: Options{Region: "r", Zone: "a"},
			set:     []Endpoint{endpoint("near", 1, "r", "b"), endpoint("far", 1, "q", "a")},
			want:    map[string]int{"near": 100},
		},
	}
	for name, test := range tests {
		for _, policy := range []Policy{LeastOutstanding, RoundRobin} {
			t.Run(fmt.Sprint(name, " ", policy), func(t *testing.T) {
				t.Parallel()
				o := test.options
				o.Now, o.Seed, o.Policy = newClock().Now, 1, policy
				b := New(o)
				b.Set(test.set)
				for _, i := range b.all { // as calls that fail would
					for _, id := range test.open {
						if i.ServiceID == id {
							for range 5 {
								b.take(b.table.Load(), i).Done(Failure)
							}
						}
					}
				}
				if b.Panic() != test.panics {
					t.Errorf("panic is %v", b.Panic())
				}
				// A success closes a circuit that could not be left open, so calls end in nothing here.
				got := map[string]int{}
				const picks = 10_000
				for range picks {
					p := pick(t, b)
					p.Done(Ignored)
					got[p.ServiceID]++
				}
				for id, n := range got {
					if got[id] = int(math.Round(float64(n) * 100 / picks)); got[id]+2 < test.want[id] || got[id]-2 > test.want[id] {
						t.Errorf("%s gets %d %%, not %d", id, got[id], test.want[id])
					}
				}
				if len(got) != len(test.want) {
					t.Errorf("picked are %v", got)
				}
			})
		}
	}
}

// All callers together give every instance its share, however the instances lie.
func TestZonesAddUp(t *testing.T) {
	t.Parallel()
	set := []Endpoint{endpoint("a1", 1, "r", "a"), endpoint("b1", 2, "r", "b"), endpoint("b2", 1, "r", "b"), endpoint("c1", 4, "r", "c")}
	total := map[string]int{}
	for _, zone := range []string{"a", "b", "c"} {
		b := New(Options{Now: newClock().Now, Policy: RoundRobin, Region: "r", Zone: zone})
		b.Set(set)
		for id, n := range shareOf(t, b) {
			total[id] += n
		}
	}
	for _, e := range set {
		if want := 300 * e.Weight / 8; total[e.ServiceID] < want-2 || total[e.ServiceID] > want+2 {
			t.Errorf("%s gets %d of 300, not %d", e.ServiceID, total[e.ServiceID], want)
		}
	}
}

// Every stretch of a round has each instance's share, to within a few.
func TestRoundRobinIsSmooth(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 3, 7, 50} {
		b := New(Options{Now: newClock().Now, Seed: 7, Policy: RoundRobin})
		b.Set(many(n))
		counts(t, b, 123)
		for id, got := range counts(t, b, 10*n) {
			if got < 8 || got > 12 {
				t.Errorf("of %d, %s is picked %d times in ten rounds", n, id, got)
			}
		}
	}
}

func TestSameSeedSameChoices(t *testing.T) {
	t.Parallel()
	run := func(seed uint64, policy Policy) (ids []string) {
		b := New(Options{Now: newClock().Now, Seed: seed, Policy: policy, Region: "r0", Zone: "z0"})
		var set []Endpoint
		for i := range 20 {
			set = append(set, endpoint(fmt.Sprint(i), 1+i%4, fmt.Sprint("r", i%3), fmt.Sprint("z", i%2)))
		}
		b.Set(set)
		for n := range 200 {
			p := pick(t, b)
			ids = append(ids, p.ServiceID)
			if n%3 == 0 {
				p.Done(Success)
			}
		}
		return ids
	}
	for _, policy := range []Policy{LeastOutstanding, RoundRobin} {
		first := run(3, policy)
		if diff := cmp.Diff(first, run(3, policy)); diff != "" {
			t.Error(diff)
		}
		if cmp.Equal(first, run(4, policy)) {
			t.Error("another seed makes the same choices")
		}
	}
}

// One that is slow gets as many calls at once as the others, and so fewer of them.
func TestLeastOutstanding(t *testing.T) {
	t.Parallel()
	b := New(Options{Now: newClock().Now, Seed: 1})
	b.Set(many(4))
	slow := 0
	for range 1000 {
		if p := pick(t, b); p.ServiceID == "a-0" {
			slow++ // and never ends
		} else {
			p.Done(Success)
		}
	}
	if slow > 100 {
		t.Errorf("the slow one was given %d of 1000", slow)
	}
}

// A circuit opens at the fifth failure in a row, is half open after its time, and closes at one success.
func TestCircuit(t *testing.T) {
	t.Parallel()
	at := newClock()
	b := New(Options{Now: at.Now, Seed: 1})
	b.Set(many(3))
	fail(t, b, "a-1", 4)
	if counts(t, b, 100)["a-1"] == 0 { // a success in between
		t.Fatal("open after four failures")
	}
	fail(t, b, "a-1", 5)
	if n := counts(t, b, 100)["a-1"]; n != 0 {
		t.Fatalf("picked %d times with an open circuit", n)
	}
	at.advance(30*time.Second - 1)
	if n := counts(t, b, 100)["a-1"]; n != 0 {
		t.Fatalf("picked %d times before it was due", n)
	}
	at.advance(1)
	probe := pick(t, b)
	if probe.ServiceID != "a-1" || !probe.Probe {
		t.Fatalf("the first pick is %s, probe %v", probe.ServiceID, probe.Probe)
	}
	if n := counts(t, b, 100)["a-1"]; n != 0 {
		t.Fatalf("picked %d times while it was tried", n)
	}
	probe.Done(Failure)
	if n := counts(t, b, 100)["a-1"]; n != 0 {
		t.Fatalf("picked %d times after it failed again", n)
	}
	at.advance(30 * time.Second)
	given := pick(t, b)
	given.Done(Ignored)
	again := pick(t, b)
	if !given.Probe || !again.Probe {
		t.Fatal("not tried again after a trial that told nothing")
	}
	at.advance(30 * time.Second) // and one that never ends
	last := pick(t, b)
	if !last.Probe {
		t.Fatal("not tried again after a trial that was lost")
	}
	again.Done(Failure) // too late
	last.Done(Success)
	if n := counts(t, b, 300)["a-1"]; n < 50 {
		t.Errorf("picked %d times of 300 after it had recovered", n)
	}
}

// What was begun before a circuit opened, or closed, does not move it afterwards.
func TestLateReports(t *testing.T) {
	t.Parallel()
	at := newClock()
	b := New(Options{Now: at.Now, Seed: 1})
	b.Set(many(3))
	before := pick(t, b)
	for before.ServiceID != "a-2" {
		before.Done(Ignored)
		before = pick(t, b)
	}
	late := before
	late.at.outstanding.Add(1)
	fail(t, b, "a-2", 5)
	before.Done(Success)
	if n := counts(t, b, 100)["a-2"]; n != 0 {
		t.Errorf("a late success closes the circuit: picked %d times", n)
	}
	at.advance(30 * time.Second)
	pick(t, b).Done(Success)
	fail(t, b, "a-2", 4)
	late.Done(Failure)
	if n := counts(t, b, 300)["a-2"]; n == 0 {
		t.Error("a late failure counts")
	}
}

// Panic ends by itself when calls succeed again.
func TestPanicEnds(t *testing.T) {
	t.Parallel()
	at := newClock()
	b := New(Options{Now: at.Now, Seed: 1})
	b.Set(many(4))
	for range 200 { // everything fails
		pick(t, b).Done(Failure)
	}
	if !b.Panic() || !pick(t, b).Panic {
		t.Fatal("no panic when everything fails")
	}
	for range 20 {
		pick(t, b).Done(Success)
	}
	if b.Panic() {
		t.Error("panic, and the two that are called succeed")
	}
	at.advance(30 * time.Second)
	for range 2 {
		pick(t, b).Done(Success)
	}
	if got := counts(t, b, 400); len(got) != 4 {
		t.Errorf("picked are %v", got)
	}
}

func TestPickOther(t *testing.T) {
	t.Parallel()
	b := New(Options{Now: newClock().Now, Seed: 1})
	if _, err := b.PickOther("a"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	b.Set([]Endpoint{endpoint("a", 1000), endpoint("b", 1)})
	for range 100 {
		p, err := b.PickOther("a")
		if err != nil || p.ServiceID != "b" {
			t.Fatal(p.ServiceID, err)
		}
		p.Done(Success)
	}
	b.Set([]Endpoint{endpoint("a", 1)})
	if p, err := b.PickOther("a"); !errors.Is(err, ErrNone) {
		t.Error(p.ServiceID, err)
	}
}

// What is known is kept with the address, and forgotten with the instance.
func TestSetKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	b := New(Options{Now: newClock().Now, Seed: 1})
	set := many(3)
	b.Set(append(set, set[1]))
	if len(b.all) != 3 {
		t.Errorf("%d instances of 3", len(b.all))
	}
	fail(t, b, "a-1", 5)
	set[1].Weight = 5
	b.Set(set)
	if counts(t, b, 100)["a-1"] != 0 {
		t.Error("a new weight closes the circuit")
	}
	set[1].URL = "https://elsewhere.example"
	b.Set(set)
	if counts(t, b, 100)["a-1"] == 0 {
		t.Error("another address has the old one's circuit")
	}
	b.Set(nil)
	if _, err := b.Pick(); !errors.Is(err, ErrNone) || len(b.all) != 0 {
		t.Error(err)
	}
}

func TestConcurrent(t *testing.T) {
	t.Parallel()
	at := newClock()
	b := New(Options{Now: at.Now, Seed: 1, Region: "r"})
	b.Set(many(10))
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for n := range 2000 {
				p, err := b.Pick()
				if err != nil {
					t.Error(err)
					return
				}
				p.Done(Outcome((n*worker + n) % 3))
				switch n % 100 {
				case 10:
					at.advance(time.Second)
				case 20:
					b.Set(many(5 + n%10))
				}
			}
		})
	}
	group.Wait()
	for _, i := range b.all {
		if n := i.outstanding.Load(); n != 0 {
			t.Errorf("%s has %d calls under way", i.ServiceID, n)
		}
	}
}

func TestPickAllocates(t *testing.T) { //nolint:paralleltest // counts allocations of the process
	for _, n := range []int{1, 100, 10_000} {
		b := New(Options{Now: newClock().Now, Seed: 1, Region: "r"})
		b.Set(many(n))
		if got := testing.AllocsPerRun(1000, func() { pick(t, b).Done(Success) }); got != 0 {
			t.Errorf("a pick of %d allocates %v times", n, got)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range []Policy{LeastOutstanding, RoundRobin} {
		for _, n := range []int{3, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", map[Policy]string{LeastOutstanding: "two", RoundRobin: "round"}[policy], n), func(b *testing.B) {
				at := time.Unix(1_700_000_000, 0)
				balancer := New(Options{Now: func() time.Time { return at }, Seed: 1, Policy: policy})
				balancer.Set(many(n))
				b.ReportAllocs()
				for b.Loop() {
					p, err := balancer.Pick()
					if err != nil {
						b.Fatal(err)
					}
					p.Done(Success)
				}
			})
		}
	}
}
