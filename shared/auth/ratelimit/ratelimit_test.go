package ratelimit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Limit{
		"1000/1m": {1000, time.Minute}, "0": {}, "off": {}, "1/1ms": {1, time.Millisecond}, "1000000000/24h": {MaxRequests, MaxPeriod},
	} {
		if got, err := Parse(text); got != want || err != nil {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "1000", "1000/", "/1m", "1000/m", "1000/1", "-1/1m", "0/1m", "1000/0s", "1000/-1m", "1000/25h", "1000000001/1m", "1000/1m/1m",
		" 1000/1m", "1e3/1m", "OFF", "99999999999999999999/1m",
	} {
		if got, err := Parse(text); !errors.Is(err, ErrInvalid) || !got.IsZero() {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"1000/1m", "off", "0", "1/1ms", "9/9h9m9.9s", "-1/-1m", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(l.String())
		if err != nil || again != l {
			t.Fatalf("%q: %v, again %v %v", text, l, again, err)
		}
		if l.IsZero() {
			return
		}
		now := int64(1_700_000_000_000_000_000)
		if d, next := l.Ask(0, now); !d.Allowed || d.Remaining != l.Requests-1 || next <= now {
			t.Fatalf("%v: %+v %d", l, d, next)
		}
	})
}

func TestAsk(t *testing.T) {
	t.Parallel()
	l := Limit{Requests: 3, Per: 3 * time.Second}
	var tat int64
	at := func(now time.Duration) Decision {
		var d Decision
		d, tat = l.Ask(tat, int64(time.Hour+now))
		return d
	}
	for _, step := range []struct {
		at   time.Duration
		want Decision
	}{
		{0, Decision{true, 2, 0, time.Second}},
		{0, Decision{true, 1, 0, 2 * time.Second}},
		{0, Decision{true, 0, time.Second, 3 * time.Second}},
		{0, Decision{false, 0, time.Second, 3 * time.Second}},
		{0, Decision{false, 0, time.Second, 3 * time.Second}}, // being refused costs nothing
		{time.Second - 1, Decision{false, 0, 1, 2*time.Second + 1}},
		{time.Second, Decision{true, 0, time.Second, 3 * time.Second}},
		{2500 * time.Millisecond, Decision{true, 0, 500 * time.Millisecond, 2500 * time.Millisecond}},
		{time.Minute, Decision{true, 2, 0, time.Second}},
		// The clock steps back by an hour: that caller waits no longer than the limit has anyone wait.
		{-30 * time.Minute, Decision{false, 0, time.Second, 3 * time.Second}},
		{-30*time.Minute + time.Second, Decision{true, 0, time.Second, 3 * time.Second}},
	} {
		if diff := cmp.Diff(step.want, at(step.at)); diff != "" {
			t.Errorf("at %s (-want +got):\n%s", step.at, diff)
		}
	}
}

func TestChangedLimit(t *testing.T) {
	t.Parallel()
	now := int64(time.Hour)
	_, tat := Limit{1, 24 * time.Hour}.Ask(0, now)
	l := Limit{10, time.Second}
	if d, _ := l.Ask(tat, now); d.Allowed || d.RetryAfter != 100*time.Millisecond {
		t.Errorf("a new limit keeps the wait of the old one: %+v", d)
	}
}

// No stretch of time lets more through than the burst and what has come in since; and nobody is refused who has
// asked for less.
func TestNeverMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := Limit{rapid.Int64Range(1, 50).Draw(t, "requests"), time.Duration(rapid.Int64Range(1e6, 1e11).Draw(t, "per"))}
		interval := int64(l.Interval())
		var tat, now int64 = 0, int64(time.Hour)
		var passed []int64
		for _, step := range rapid.SliceOfN(rapid.Int64Range(0, 3*interval), 1, 200).Draw(t, "steps") {
			if step < interval { // many at once
				step = 0
			}
			now += step
			// A bucket of tokens says the same: full at first, one more each interval.
			want := true
			for i, at := range passed {
				if n := int64(len(passed) - i + 1); n > l.Requests && now-at < (n-l.Requests)*interval {
					want = false
				}
			}
			d, next := l.Ask(tat, now)
			if d.Allowed != want {
				t.Fatalf("at %d: %+v, want %t; passed at %v", now, d, want, passed)
			}
			if again, same := l.Ask(next, now); !d.Allowed && (next != tat || same != tat || again.Allowed) {
				t.Fatalf("a refusal changed something: %d to %d to %d", tat, next, same)
			} else if again.Allowed != (d.Remaining > 0) || (d.RetryAfter == 0) != (d.Remaining > 0) {
				t.Fatalf("%+v, and then %+v", d, again)
			}
			if later, _ := l.Ask(next, now+int64(d.RetryAfter)); !later.Allowed {
				t.Fatalf("%+v, and after the wait %+v", d, later)
			}
			if full, _ := l.Ask(next, now+int64(d.ResetAfter)); full.Remaining != l.Requests-1 {
				t.Fatalf("%+v, and after the reset %+v", d, full)
			}
			if tat = next; d.Allowed {
				passed = append(passed, now)
			}
		}
	})
}

func TestKey(t *testing.T) {
	t.Parallel()
	service, operator, target := auth.MustSubject("isectech-frontend"), auth.MustSubject("operator:a@b.de"), auth.MustSubject("isectech-admin")
	seen := map[string]Key{}
	for want, k := range map[string]Key{
		"isectech-frontend":                                 {Caller: service, Environment: auth.Production},
		"isectech-frontend@development":                     {Caller: service, Environment: auth.Development},
		"isectech-frontend|isectech-admin|10/1s":            {Caller: service, Environment: auth.Production, Target: target, Rate: Limit{10, time.Second}},
		"isectech-frontend@development|isectech-admin|1/1s": {Caller: service, Environment: auth.Development, Target: target, Rate: Limit{1, time.Second}},
		"operator:a@b.de":                                   {Caller: operator},
	} {
		if got := k.String(); got != want || strings.ContainsAny(got, " \r\n") {
			t.Errorf("%q, want %q", got, want)
		}
		if other, ok := seen[want]; ok {
			t.Errorf("%v and %v are one", k, other)
		}
		seen[want] = k
	}
}
