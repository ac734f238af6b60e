package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/test/contract"
)

// Platform is a platform to tell the story on.
type Platform interface {
	Authz() string       // its URL
	Registers() []string // the URLs of all instances of the registry
	Signer(t testing.TB, service string) signature.Signer
	PubSub() (address, project string)
	// Restart kills every function without warning and starts all again.
	Restart(t testing.TB)
	// Verify wants a journal without a fault.
	Verify(t testing.TB)
}

// The services of the story.
const (
	frontend = "isectech-frontend"
	gateway  = "isectech-api-gateway"
	backend  = "isectech-backend-services"
)

// The paths of the story.
const (
	tokenPath    = "/internal/auth/token" // #nosec G101 -- a path
	validatePath = "/internal/auth/validate"
	registerPath = "/internal/registry/register"
	servicesPath = "/internal/registry/services"
	watchPath    = "/internal/registry/watch"

	form = "application/x-www-form-urlencoded"
)

// Bounds that only a broken platform meets.
const (
	callTimeout  = time.Minute
	eventTimeout = 2 * time.Minute
)

// client calls a platform as services do.
type client struct {
	Platform
	t testing.TB

	mu     sync.Mutex
	tokens map[string]held
}

type held struct {
	token string
	until time.Time
}

func newClient(t testing.TB, p Platform) *client {
	return &client{Platform: p, t: t, tokens: map[string]held{}}
}

// send makes one call; r.Sign names the service that signs it.
func (c *client) send(ctx context.Context, url string, r contract.Request) (contract.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var sign contract.Sign
	if r.Sign != "" {
		sign = c.Signer(c.t, r.Sign).SignHTTP
	}
	return contract.Send(ctx, url, r, sign)
}

// do makes a call that must be answered.
func (c *client) do(t testing.TB, url string, r contract.Request) contract.Answer {
	t.Helper()
	a, err := c.send(t.Context(), url, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask asks for an access token; more are names and values of the form.
func (c *client) ask(service string, more ...string) contract.Request {
	values := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i+1 < len(more); i += 2 {
		values.Set(more[i], more[i+1])
	}
	return contract.Request{Method: http.MethodPost, Path: tokenPath, Body: values.Encode(), Type: form, Sign: service}
}

// token returns a service's access token for the platform, which is kept for as long as it is good.
func (c *client) token(ctx context.Context, service string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept := c.tokens[service]; time.Until(kept.until) > time.Minute {
		return kept.token, nil
	}
	a, err := c.send(ctx, c.Authz(), c.ask(service, "scope", "service:discover"))
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusOK {
		return "", fmt.Errorf("token of %s: %d %s", service, a.Status, a.Text)
	}
	seconds, _ := a.Body["expires_in"].(float64)
	kept := held{a.String("access_token"), time.Now().Add(time.Duration(seconds) * time.Second)}
	c.tokens[service] = kept
	return kept.token, nil
}

// mustToken is token for tests.
func (c *client) mustToken(t testing.TB, service string) string {
	t.Helper()
	raw, err := c.token(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// get reads with the token of the gateway.
func (c *client) get(ctx context.Context, url, path string) (contract.Answer, error) {
	raw, err := c.token(ctx, gateway)
	if err != nil {
		return contract.Answer{}, err
	}
	return c.send(ctx, url, contract.Request{Path: path, Token: raw})
}

// read is get that must be answered.
func (c *client) read(t testing.TB, url, path string) contract.Answer {
	t.Helper()
	a, err := c.get(t.Context(), url, path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// register registers an instance of the backend.
func (c *client) register(ctx context.Context, url, body string) (contract.Answer, error) {
	raw, err := c.token(ctx, backend)
	if err != nil {
		return contract.Answer{}, err
	}
	return c.send(ctx, url, contract.Request{Method: http.MethodPost, Path: registerPath, Token: raw, Body: body})
}

// mustRegister is register of something new.
func (c *client) mustRegister(t testing.TB, url, body string) contract.Answer {
	t.Helper()
	a, err := c.register(t.Context(), url, body)
	if err != nil {
		t.Fatal(err)
	}
	a.Want(t, http.StatusCreated, "", "")
	return a
}

// instance is a registration of the backend, with a lease that outlasts the test.
func instance(id, version string) string {
	return fmt.Sprintf(`{"service_id":%q,"service_name":%q,"version":%q,"environment":"production","lease":"0s",
		"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443}]}`, id, backend, version)
}

// named is the data of the commands that only name an instance.
func named(id string) string { return fmt.Sprintf(`{"service_id":%q}`, id) }

// page is a page of a list.
type page struct {
	ids  []string
	next string
}

// list reads all instances whose id has a prefix, page by page, with no more than limit on each.
func (c *client) list(ctx context.Context, url, prefix string, limit int) (found []string, err error) {
	for next := ""; ; {
		p, err := c.page(ctx, url, limit, next)
		if err != nil {
			return nil, err
		}
		for _, id := range p.ids {
			if strings.HasPrefix(id, prefix) {
				found = append(found, id)
			}
		}
		if next = p.next; next == "" {
			return found, nil
		}
	}
}

func (c *client) page(ctx context.Context, address string, limit int, token string) (page, error) {
	query := url.Values{"limit": {fmt.Sprint(limit)}, "fields": {"service_id"}}
	if token != "" {
		query.Set("page_token", token)
	}
	a, err := c.get(ctx, address, servicesPath+"?"+query.Encode())
	if err != nil {
		return page{}, err
	}
	services, ok := a.Body["services"].([]any)
	if a.Status != http.StatusOK || !ok {
		return page{}, fmt.Errorf("list: %d %s", a.Status, a.Text)
	}
	p := page{next: a.String("next_page_token")}
	for _, service := range services {
		record, _ := service.(map[string]any)
		id, _ := record["service_id"].(string)
		p.ids = append(p.ids, id)
	}
	return p, nil
}

// eventually tries until it succeeds. What fails with the time that it had is no news of what was wrong.
func eventually(t testing.TB, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for tries := 1; ; tries++ {
		err := try(ctx)
		if err == nil {
			return
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: after %d tries: %v", what, tries, last)
		}
	}
}

// differ returns what is in one set alone.
func differ(want map[string]bool, got []string) error {
	left := maps.Clone(want)
	for _, id := range got {
		if !want[id] {
			return fmt.Errorf("%s is there, and should not be", id)
		}
		if !left[id] {
			return fmt.Errorf("%s is there twice", id)
		}
		delete(left, id)
	}
	for id := range left {
		return fmt.Errorf("%d of %d are missing, among them %s", len(left), len(want), id)
	}
	return nil
}
