package balance

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/registry"
)

// model is the balancer said again in the plainest way: lists that are looked through from the start each time.
type model struct {
	now    time.Time
	all    []*modelInstance
	opened int
	trial  *modelInstance
	lost   time.Time
}

type modelInstance struct {
	e        Endpoint
	failures int
	open     bool
	order    int
	due      time.Time
	epoch    int
}

const (
	modelFailures = 2
	modelOpenFor  = 10 * time.Second
	modelEjected  = 50
)

func (m *model) candidates() (found []*modelInstance, desperate bool) {
	for _, status := range []registry.Status{registry.Healthy, registry.Degraded, registry.Unhealthy} {
		for _, i := range m.all {
			if i.e.Status == status && i.e.Weight > 0 {
				found = append(found, i)
			}
		}
		if found != nil {
			return found, status == registry.Unhealthy
		}
	}
	return nil, false
}

// leftOut returns those left out, and whether there is panic.
func (m *model) leftOut() (out []*modelInstance, panics bool) {
	found, desperate := m.candidates()
	for _, i := range found {
		if i.open {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *modelInstance) int { return a.order - b.order })
	if limit := len(found) * modelEjected / 100; len(out) > limit {
		return out[:limit], true
	}
	return out, desperate
}

func (m *model) dueForTrial() []*modelInstance {
	if m.trial != nil && !m.now.Before(m.lost) {
		m.trial.epoch++
		m.trial = nil
	}
	if m.trial != nil {
		return nil
	}
	out, _ := m.leftOut()
	return slices.DeleteFunc(out, func(i *modelInstance) bool { return i.due.After(m.now) })
}

func (m *model) report(i *modelInstance, epoch int, trial bool, o Outcome) {
	if epoch != i.epoch {
		return
	}
	trial = trial && m.trial == i
	if trial {
		m.trial = nil
		i.epoch++
	}
	switch {
	case o == Ignored && trial:
		i.due = m.now
	case o == Success && i.open:
		i.open, i.failures = false, 0
		if !trial {
			i.epoch++
		}
	case o == Success:
		i.failures = 0
	case o == Failure && trial:
		i.due = m.now.Add(modelOpenFor)
	case o == Failure && !i.open:
		if i.failures++; i.failures == modelFailures {
			m.opened++
			i.open, i.failures, i.due, i.order = true, 0, m.now.Add(modelOpenFor), m.opened
			i.epoch++
		}
	}
}

func TestAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{now: time.Unix(1_700_000_000, 0)}
		b := New(Options{
			Now: func() time.Time { return m.now }, Seed: rapid.Uint64().Draw(t, "seed"),
			Policy:   Policy(rapid.IntRange(0, 1).Draw(t, "policy")),
			Failures: modelFailures, OpenFor: modelOpenFor, MaxEjected: modelEjected,
		})
		type call struct {
			pick  Pick
			i     *modelInstance
			epoch int
		}
		var calls []call
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				var set []Endpoint
				var all []*modelInstance
				for n := range 4 {
					if rapid.IntRange(0, 3).Draw(t, "there") == 0 {
						continue
					}
					e := Endpoint{
						Choice: registry.Choice{ServiceID: fmt.Sprint("a-", n), Port: max(1, rapid.IntRange(-2, 2).Draw(t, "port"))},
						Weight: rapid.IntRange(0, 3).Draw(t, "weight"),
						Status: rapid.SampledFrom([]registry.Status{registry.Healthy, registry.Healthy, registry.Degraded, registry.Unhealthy, registry.Stopping}).Draw(t, "status"),
					}
					set = append(set, e)
					at := slices.IndexFunc(m.all, func(i *modelInstance) bool { return i.e.Choice == e.Choice })
					i := &modelInstance{}
					if at >= 0 {
						i = m.all[at]
					}
					i.e = e
					all = append(all, i)
				}
				if !slices.Contains(all, m.trial) {
					m.trial = nil
				}
				m.all = all
				b.Set(set)
			},
			"pick": func(t *rapid.T) {
				due := m.dueForTrial()
				out, panics := m.leftOut()
				found, _ := m.candidates()
				p, err := b.Pick()
				if (err != nil) != (len(found) == 0) || err != nil && !errors.Is(err, ErrNone) {
					t.Fatalf("%v, of %d candidates", err, len(found))
				}
				if err != nil {
					return
				}
				at := slices.IndexFunc(found, func(i *modelInstance) bool { return i.e.ServiceID == p.ServiceID })
				if at < 0 {
					t.Fatalf("%s is no candidate", p.ServiceID)
				}
				i := found[at]
				switch {
				case p.Probe != (len(due) > 0):
					t.Fatalf("probe is %v, and %d are due", p.Probe, len(due))
				case p.Probe && (!slices.Contains(due, i) || slices.ContainsFunc(due, func(o *modelInstance) bool { return o.due.Before(i.due) })):
					t.Fatalf("%s is tried before its turn", p.ServiceID)
				case !p.Probe && slices.Contains(out, i):
					t.Fatalf("%s is picked, and its circuit is open", p.ServiceID)
				case p.Panic != panics:
					t.Fatalf("panic is %v", p.Panic)
				}
				if p.Probe {
					m.trial, m.lost = i, m.now.Add(modelOpenFor)
				}
				calls = append(calls, call{p, i, i.epoch})
			},
			"end": func(t *rapid.T) {
				if len(calls) == 0 {
					t.Skip("no calls")
				}
				n := rapid.IntRange(0, len(calls)-1).Draw(t, "call")
				o := rapid.SampledFrom([]Outcome{Failure, Failure, Failure, Success, Ignored}).Draw(t, "outcome")
				c := calls[n]
				calls = slices.Delete(calls, n, n+1)
				m.dueForTrial() // for the trial that is given up by now
				b.upToDate()
				m.report(c.i, c.epoch, c.pick.Probe, o)
				c.pick.Done(o)
			},
			"wait": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 12).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) { // calls under way are counted exactly
				under := map[*modelInstance]int64{}
				for _, c := range calls {
					under[c.i]++
				}
				for n, i := range b.all {
					if got := i.outstanding.Load(); got != under[m.all[n]] {
						t.Fatalf("%s has %d calls under way, not %d", i.ServiceID, got, under[m.all[n]])
					}
				}
				if len(b.all) != len(m.all) {
					t.Fatalf("%d instances are kept of %d", len(b.all), len(m.all))
				}
			},
		})
	})
}
