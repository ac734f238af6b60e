package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/isectech/service-networking/test/contract"
)

// firestoreStopped freezes Firestore and lets it go on. (The emulator has all its documents in memory: killed, it
// would lose more than the real one ever does.)
func firestoreStopped(t *testing.T, p *Processes) {
	c := newClient(t, p)
	urls := p.Registers()
	accepted := map[string]bool{"backend-services-fs0": true}
	c.mustRegister(t, urls[0], instance("backend-services-fs0", "1.0.0"))
	for _, url := range urls { // both have it, and know who calls
		eventually(t, "it is known", func(ctx context.Context) error {
			a, err := c.get(ctx, url, servicesPath+"/backend-services-fs0")
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("%d %s", a.Status, a.Text)
			}
			return err
		})
	}

	p.firestore.Pause()
	frozen := true
	defer func() {
		if frozen {
			p.firestore.Resume()
		}
	}()
	type written struct {
		what string
		contract.Answer
		err error
	}
	write := func(url string, r contract.Request) <-chan written {
		done := make(chan written, 1)
		go func() {
			a, err := c.send(t.Context(), url, r)
			done <- written{r.Path, a, err}
		}()
		return done
	}
	var writes []<-chan written
	raw := c.mustToken(t, backend)
	for i, url := range urls {
		body := instance(fmt.Sprintf("backend-services-fs%d", i+1), "1.0.0")
		writes = append(writes, write(url, contract.Request{Method: http.MethodPost, Path: registerPath, Token: raw, Body: body}))
	}
	writes = append(writes, write(p.Authz(), c.ask(gateway))) // its nonce cannot be kept
	var last float64
	for last < 3 { // seconds
		a := c.read(t, urls[0], servicesPath+"/backend-services/endpoints/api")
		a.Want(t, http.StatusOK, "", "")
		age, err := strconv.ParseFloat(a.Header.Get("X-Registry-Age"), 64)
		if err != nil || age < last {
			t.Fatalf("the age went from %v to %q: %v", last, a.Header.Get("X-Registry-Age"), err)
		}
		last = age
	}
	for _, done := range writes {
		w := <-done
		check(t, w.err)
		if w.Status != http.StatusServiceUnavailable {
			t.Errorf("%s without Firestore: %d %s", w.what, w.Status, w.Text)
		}
	}
	t.Logf("the last age was %.1f s", last)

	p.firestore.Resume()
	frozen = false
	start := time.Now()
	for _, url := range urls {
		eventually(t, "writes are accepted again", func(ctx context.Context) error {
			id := "backend-services-fs-" + url[len(url)-5:]
			a, err := c.register(ctx, url, instance(id, "1.0.0"))
			if err == nil && a.Status >= 300 {
				err = fmt.Errorf("%d %s", a.Status, a.Text)
			}
			if err == nil {
				accepted[id] = true
			}
			return err
		})
	}
	t.Logf("writes were accepted again after %s", time.Since(start).Round(time.Millisecond))
	for _, url := range urls {
		eventually(t, "nothing accepted is lost", func(ctx context.Context) error {
			for id := range accepted {
				if a, err := c.get(ctx, url, servicesPath+"/"+id); err != nil || a.Status != http.StatusOK {
					return fmt.Errorf("%s: %d %w", id, a.Status, err)
				}
			}
			a, err := c.get(ctx, url, servicesPath+"/backend-services-fs0")
			if age, _ := strconv.ParseFloat(a.Header.Get("X-Registry-Age"), 64); err == nil && age > last {
				err = fmt.Errorf("the age is still %v", age)
			}
			return err
		})
	}
	p.Verify(t)
}
