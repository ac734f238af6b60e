package redis

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBreaker compares the breaker with what its words say, over any sequence of calls and any clock.
func TestBreaker(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const threshold, cooldown = 3, 10 * time.Second
		now := time.Unix(1_000_000, 0)
		b := newBreaker(threshold, cooldown, func() time.Time { return now })
		var (
			running  []permit
			failures int       // in a row, while closed
			opened   time.Time // zero: closed
			probing  bool
		)
		t.Repeat(map[string]func(*rapid.T){
			"Advance": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(0, 12).Draw(t, "seconds")) * time.Second) },
			"Begin": func(t *rapid.T) {
				p, ok := b.allow()
				cool := !opened.IsZero() && now.Sub(opened) >= cooldown
				want := opened.IsZero() || cool && !probing
				if ok != want || ok && p.probe == opened.IsZero() {
					t.Fatalf("leave %t %+v; want %t", ok, p, want)
				}
				if ok {
					running = append(running, p)
					probing = probing || p.probe
				}
			},
			"End": func(t *rapid.T) {
				if len(running) == 0 {
					t.Skip("nothing runs")
				}
				i := rapid.IntRange(0, len(running)-1).Draw(t, "which")
				o := rapid.SampledFrom([]outcome{inconclusive, success, failure}).Draw(t, "outcome")
				p := running[i]
				running = append(running[:i], running[i+1:]...)
				told := b.record(p, o)
				if p.probe {
					probing = false
				}
				was := opened
				switch {
				case o == inconclusive || !opened.IsZero() && !p.probe:
				case o == success:
					failures, opened = 0, time.Time{}
				case p.probe:
					opened = now
				default:
					if failures++; failures >= threshold {
						opened = now
					}
				}
				if want := o == failure && !opened.IsZero() && (p.probe || was.IsZero()); told != want {
					t.Fatalf("opened %t; want %t", told, want)
				}
			},
			"": func(t *rapid.T) {
				want := StateClosed
				if !opened.IsZero() {
					if want = StateOpen; probing || now.Sub(opened) >= cooldown {
						want = StateHalfOpen
					}
				}
				if got := b.State(); got != want {
					t.Fatalf("state %s; want %s", got, want)
				}
			},
		})
	})
}

func TestBreakerWithClockSetBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	b := newBreaker(1, time.Minute, func() time.Time { return now })
	p, _ := b.allow()
	b.record(p, failure)
	if _, ok := b.allow(); ok {
		t.Error("open, and yet a call")
	}
	now = now.Add(-time.Hour)
	if _, ok := b.allow(); !ok {
		t.Error("a clock that was set back by an hour keeps it open for an hour")
	}
}
