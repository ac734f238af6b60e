package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/isectech/service-networking/test/contract"
)

// captured is a signed request as it went out, to be sent again.
type captured struct {
	name    string
	url     string
	request contract.Request
}

// signed sends a signed request and keeps it for a replay.
func (c *client) signed(t *testing.T, name, url string, r contract.Request) captured {
	t.Helper()
	sent := captured{name: name, url: url}
	r.Edit = func(req *http.Request) { sent.request.Header = req.Header.Clone() }
	a := c.do(t, url, r)
	if a.Status != http.StatusOK {
		t.Fatalf("%s: %d %s", name, a.Status, a.Text)
	}
	header := sent.request.Header
	sent.request = r
	sent.request.Sign, sent.request.Edit = "", func(req *http.Request) { req.Header = header.Clone() }
	return sent
}

// replayed sends requests once more, and wants none let in.
func (c *client) replayed(t *testing.T, when string, requests ...captured) {
	t.Helper()
	for _, r := range requests {
		a := c.do(t, r.url, r.request)
		if a.Status != http.StatusUnauthorized || a.String("reason") != "replayed" {
			t.Errorf("%s, replayed %s: %d %s", r.name, when, a.Status, a.Text)
		}
	}
}

// redisKilled takes Redis away and gives it back, empty. Redis is the only memory of the nonces of reads, so what
// of those it has forgotten is let in again; nothing else is.
func redisKilled(t *testing.T, p *Processes) {
	c := newClient(t, p)
	urls := p.Registers()
	known := instance("backend-services-redis", "1.0.0")
	c.mustRegister(t, urls[0], known)
	read := contract.Request{Path: servicesPath + "/backend-services-redis", Sign: gateway}
	write := contract.Request{Method: http.MethodPost, Path: registerPath, Body: known, Sign: backend}

	early := c.signed(t, "a read", urls[0], read)
	kept := []captured{
		c.signed(t, "a token request", p.Authz(), c.ask(gateway)),
		c.signed(t, "a write", urls[0], write),
	}
	c.replayed(t, "before", append(kept, early)...)

	p.redis.Stop()
	for range 10 { // through the breaker's opening
		for _, url := range urls {
			a := c.read(t, url, servicesPath+"/backend-services/endpoints/api")
			a.Want(t, http.StatusOK, "", "")
		}
	}
	during := []captured{
		c.signed(t, "a token request without Redis", p.Authz(), c.ask(gateway)),
		c.signed(t, "a write without Redis", urls[1], write),
	}
	c.do(t, urls[0], read).Want(t, http.StatusServiceUnavailable, "", "nonce_unavailable")
	c.do(t, p.Authz(), contract.Request{Path: validatePath, Sign: gateway}).Want(t, http.StatusServiceUnavailable, "", "nonce_unavailable")
	c.replayed(t, "without Redis", append(kept, during...)...)
	c.do(t, early.url, early.request).Want(t, http.StatusServiceUnavailable, "", "nonce_unavailable")
	c.mustRegister(t, urls[0], instance("backend-services-redis2", "1.0.0"))

	p.redis.Start()
	eventually(t, "signed reads are answered again", func(ctx context.Context) error {
		for _, url := range urls {
			if a, err := c.send(ctx, url, read); err != nil || a.Status != http.StatusOK {
				return fmt.Errorf("%d %s %w", a.Status, a.Text, err)
			}
		}
		return nil
	})
	c.replayed(t, "with Redis back", append(kept, during...)...)
	for _, url := range urls {
		eventually(t, "what was registered meanwhile is known", func(ctx context.Context) error {
			a, err := c.get(ctx, url, servicesPath+"/backend-services-redis2")
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("%d %s", a.Status, a.Text)
			}
			return err
		})
	}
	p.Verify(t)
}
