package history

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Readers look for instances while others register and unregister them, each once.
type Readers struct {
	Registry

	Prefix  string // of the instances' ids
	Readers int
	Lives   int           // instances that live and end
	Lease   time.Duration // of every second instance, which nobody unregisters; it ends by itself
	Rest    func()        // between two steps of one life

	mu    sync.Mutex
	lives map[string]*life
	looks []look
}

// life is one instance's. Times are those of whoever asked: before it asked, and once it was answered.
type life struct {
	asked, registered time.Time
	ending, ended     time.Time // zero where it was not unregistered
	lapses            time.Time // zero without a lease
}

// look is one answer: which instances it held, and how old it claimed to be.
type look struct {
	began, ended time.Time
	age          time.Duration
	one          bool // of a choice, not of a list
	instance     int
	ids          map[string]bool
}

// Run lets instances live and readers look at them, and fails the test when a reader was shown one that had ended
// longer ago than the answer's age, whose lease had ended, or not shown one that was there.
func (r *Readers) Run(t testing.TB) {
	t.Helper()
	r.lives = make(map[string]*life)
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for n := range r.Readers {
		readers.Go(func() {
			for k := n; ctx.Err() == nil; k++ {
				r.look(ctx, t, k%r.Instances, k%3 == 0)
			}
		})
	}
	const lines = 4
	for line := range lines {
		writers.Go(func() {
			for n := line; n < r.Lives; n += lines {
				r.live(t, n)
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	r.judge(t)
}

// live takes one instance through its life. A call that is not answered is made again.
func (r *Readers) live(t testing.TB, n int) {
	id, lease := fmt.Sprintf("%s-%d", r.Prefix, n), "0s"
	l := &life{asked: r.Now()}
	lapses := n%2 == 1
	if lapses {
		lease = r.Lease.String()
	}
	body := fmt.Sprintf(`{"service_id":%q,"service_name":"backend","environment":"production","lease":%q,"tags":[%q],
		"endpoints":[{"name":"api","url":"https://api.isectech.com"}]}`, id, lease, r.Prefix)
	answer := r.until(t, Request{Instance: n % r.Instances, Method: http.MethodPost, Path: registerPath, Body: body})
	l.registered = r.Now()
	if lapses {
		var told struct {
			LeaseExpiresAt time.Time `json:"lease_expires_at"`
		}
		if err := json.Unmarshal(answer.Body, &told); err != nil || told.LeaseExpiresAt.IsZero() {
			t.Errorf("%s has no lease: %s", id, answer.Body)
		}
		l.lapses = told.LeaseExpiresAt
	}
	r.keep(id, *l)
	r.Rest()
	if lapses {
		return
	}
	l.ending = r.Now()
	r.keep(id, *l)
	r.until(t, Request{Instance: (n + 1) % r.Instances, Method: http.MethodDelete, Path: services + id})
	l.ended = r.Now()
	r.keep(id, *l)
}

func (r *Readers) keep(id string, l life) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives[id] = &l
}

// until makes a call until it has had its effect: an end that was asked for twice finds nothing.
func (r *Readers) until(t testing.TB, call Request) Response {
	for range 1000 {
		a, err := r.Send(t.Context(), call)
		if err == nil && (a.Status < 300 || call.Method == http.MethodDelete && a.Status == http.StatusNotFound) {
			return a
		}
		r.Rest()
	}
	t.Errorf("%s %s: never done", call.Method, call.Path)
	return Response{}
}

// look asks one instance of the registry for all that may be discovered, or for one of them.
func (r *Readers) look(ctx context.Context, t testing.TB, instance int, one bool) {
	l := look{began: r.Now(), one: one, instance: instance, ids: make(map[string]bool)}
	path := "/internal/registry/services?name=backend&status=healthy&limit=500&tag=" + r.Prefix
	if one {
		path = services + "backend/endpoints/api"
	}
	a, err := r.Send(ctx, Request{Instance: instance, Method: http.MethodGet, Path: path})
	l.ended = r.Now()
	if err != nil || a.Status != http.StatusOK {
		if err == nil && a.Status != http.StatusNotFound && a.Status < 500 {
			t.Errorf("GET %s: %d %s", path, a.Status, a.Body)
		}
		return
	}
	age, err := strconv.ParseFloat(a.Header.Get("X-Registry-Age"), 64)
	if err != nil {
		t.Errorf("GET %s: no age: %v", path, err)
		return
	}
	l.age = time.Duration(age*float64(time.Second)) + time.Millisecond // it is rounded
	var told struct {
		ServiceID string `json:"service_id"`
		Services  []struct {
			ServiceID string `json:"service_id"`
		} `json:"services"`
		Next string `json:"next_page_token"`
	}
	if err := json.Unmarshal(a.Body, &told); err != nil || told.Next != "" {
		t.Errorf("GET %s: %v, more: %t", path, err, told.Next != "")
		return
	}
	if one {
		l.ids[told.ServiceID] = true
	}
	for _, s := range told.Services {
		l.ids[s.ServiceID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = append(r.looks, l)
}

func (r *Readers) judge(t testing.TB) {
	t.Helper()
	shown, faults := 0, 0
	fault := func(format string, args ...any) {
		if faults++; faults <= 10 {
			t.Errorf(format, args...)
		}
	}
	for _, l := range r.looks {
		asOf := l.began.Add(-l.age) // what was committed before is in the answer
		for id, v := range r.lives {
			has := l.ids[id]
			if has {
				shown++
			}
			switch {
			case has && l.ended.Before(v.asked):
				fault("%s was shown %v before it was registered", id, v.asked.Sub(l.ended))
			case has && !v.ended.IsZero() && asOf.After(v.ended):
				fault("%s: a ghost on instance %d, %v after its end in an answer of age %v", id, l.instance, l.began.Sub(v.ended), l.age)
			case has && !v.lapses.IsZero() && !l.began.Before(v.lapses):
				fault("%s was shown %v after its lease had ended", id, l.began.Sub(v.lapses))
			case !has && !l.one && asOf.After(v.registered) && (v.ending.IsZero() || l.ended.Before(v.ending)) && (v.lapses.IsZero() || l.ended.Before(v.lapses)):
				fault("%s was not shown on instance %d, %v after it was registered in an answer of age %v", id, l.instance, l.began.Sub(v.registered), l.age)
			}
		}
	}
	t.Logf("%d answers showed %d instances' lives %d times", len(r.looks), len(r.lives), shown)
	if shown == 0 {
		t.Error("nobody was shown anything")
	}
}
