package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/test/contract"
)

// Between commits there is time enough for each to be one that the others have to look for.
const commitEvery = 50 * time.Millisecond

// maxPropagation is a bound that only a broken platform misses; what it takes is logged. The platform promises a
// second for 99 of 100 commits on a machine that has nothing else to do.
const maxPropagation = 10 * time.Second

// sights is when a process first showed each generation of a record.
type sights struct {
	mu    sync.Mutex
	first map[int64]time.Time
	last  int64
}

func (s *sights) see(generation int64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := s.last + 1; g <= generation; g++ {
		s.first[g] = at
	}
	s.last = max(s.last, generation)
}

func (s *sights) seen(generation int64) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.first[generation]
	return at, ok
}

// propagation measures how long a commit takes to be seen at the instances of the registry that did not make it.
func propagation(t *testing.T, p *Processes) {
	const id = "backend-services-propagation"
	commits := 400
	if os.Getenv("LONG") != "" {
		commits = 2000
	}
	c := newClient(t, p)
	urls := p.Registers()
	c.mustRegister(t, urls[0], instance(id, "0.0.0"))

	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	shown := make([]*sights, len(urls))
	for i, url := range urls {
		shown[i] = &sights{first: map[int64]time.Time{}}
		reading.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				a, err := c.get(ctx, url, servicesPath+"/"+id)
				generation, _ := a.Body["generation"].(float64)
				if err == nil && a.Status == http.StatusOK {
					shown[i].see(int64(generation), time.Now())
				}
			}
		})
	}
	defer reading.Wait()
	defer stop()

	type commit struct {
		by int // instance
		at time.Time
	}
	committed := map[int64]commit{}
	beat := time.NewTicker(commitEvery)
	defer beat.Stop()
	for i := range commits {
		<-beat.C
		by := i * len(urls) / commits // one after the other: who commits looks for what came before, and so knows sooner
		a, err := c.register(t.Context(), urls[by], instance(id, fmt.Sprintf("1.0.%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		a.Want(t, http.StatusOK, "", "")
		generation, _ := a.Body["generation"].(float64)
		at, err := time.Parse(time.RFC3339Nano, a.String("updated_at"))
		if err != nil {
			t.Fatalf("%s: %v", a.Text, err)
		}
		committed[int64(generation)] = commit{by, at} // by Firestore's clock, which is this machine's
	}
	last := slices.Max(slices.Collect(maps.Keys(committed)))
	for i := range urls {
		eventually(t, "the last commit is seen everywhere", func(context.Context) error {
			if _, ok := shown[i].seen(last); !ok {
				return fmt.Errorf("not at instance %d", i+1)
			}
			return nil
		})
		var took []time.Duration
		for generation, commit := range committed {
			seen, ok := shown[i].seen(generation)
			if !ok {
				t.Fatalf("instance %d has not seen generation %d", i+1, generation)
			}
			if commit.by != i {
				took = append(took, seen.Sub(commit.at))
			}
		}
		slices.Sort(took)
		p99 := took[len(took)*99/100]
		t.Logf("instance %d, %d commits of others: p50 %s, p99 %s, at most %s", i+1, len(took),
			took[len(took)/2].Round(time.Millisecond), p99.Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
		if p99 > maxPropagation {
			t.Errorf("instance %d: p99 %s", i+1, p99)
		}
	}
	raw := c.mustToken(t, backend)
	c.do(t, urls[0], contract.Request{Method: http.MethodDelete, Path: servicesPath + "/" + id, Token: raw}).Want(t, http.StatusNoContent, "", "")
}
