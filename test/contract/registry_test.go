package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/store"
)

const registerPath = "/internal/registry/register"

// instance is a registration of the backend in production; edit adds or replaces members, and removes
// those of an empty value.
func instance(t *testing.T, id string, edit ...string) string {
	t.Helper()
	body := fmt.Sprintf(`{"service_id":%q,"service_name":%q,"version":"2.0.0","environment":"production",
		"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443,"methods":["GET","POST"]}]}`, id, backend)
	for i := 0; i+1 < len(edit); i += 2 {
		body = authtest.With(t, body, edit[i], edit[i+1])
	}
	return body
}

func (p *Platform) register(t *testing.T, tok, body string) Answer {
	t.Helper()
	return p.Do(t, Request{Method: http.MethodPost, Path: registerPath, Token: tok, Body: body})
}

func TestRegisterAndDiscover(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	checked := `{"enabled":true,"path":"/health","interval":"30s","timeout":5000000000}`

	a := p.register(t, tok, instance(t, "backend-services-001", "health_check", checked))
	a.Want(t, http.StatusCreated, "", "")
	if a.String("status") != "starting" || a.Body["generation"] != 1.0 || a.Header.Get("ETag") == "" {
		t.Errorf("got %s %v", a.Text, a.Header)
	}
	p.register(t, tok, instance(t, "backend-services-001", "health_check", checked)).Want(t, http.StatusOK, "", "")
	for _, ref := range []string{"backend-services-001", "isectech-backend-services", "backend-services", "backend"} {
		a := p.Do(t, Request{Path: servicesPath + "/" + ref, Token: tok})
		a.Want(t, http.StatusOK, "", "")
		for _, header := range []string{"X-Registry-Index", "X-Registry-Age", "ETag"} {
			if a.Header.Get(header) == "" {
				t.Errorf("%s: no %s", ref, header)
			}
		}
		again := p.Do(t, Request{Path: servicesPath + "/" + ref, Token: tok, Header: http.Header{"If-None-Match": {a.Header.Get("ETag")}}})
		if again.Status != http.StatusNotModified || again.Text != "" {
			t.Errorf("%s again: %d %s", ref, again.Status, again.Text)
		}
	}
	none := p.Do(t, Request{Path: servicesPath + "/backend-services/endpoints/api", Token: tok})
	none.Want(t, http.StatusNotFound, "not_found", "")
	if !strings.Contains(none.Text, `"reason":"starting"`) {
		t.Errorf("no reason: %s", none.Text)
	}

	p.register(t, tok, instance(t, "backend-services-002")).Want(t, http.StatusCreated, "", "")
	one := p.Do(t, Request{Path: servicesPath + "/backend-services/endpoints/api", Token: tok})
	one.Want(t, http.StatusOK, "", "")
	if one.String("service_id") != "backend-services-002" || one.String("url") != "https://api.isectech.com" || one.Body["port"] != 443.0 {
		t.Errorf("got %s", one.Text)
	}
	why := p.Do(t, Request{Path: servicesPath + "/backend-services/endpoints/api?explain=true", Token: tok})
	if !strings.Contains(why.Text, "backend-services-001") {
		t.Errorf("no explanation: %s", why.Text)
	}
	p.Do(t, Request{Path: servicesPath + "/backend-services/endpoints/api?environment=development", Token: tok}).Want(t, http.StatusNotFound, "not_found", "")
}

func TestOwnership(t *testing.T) {
	t.Parallel()
	p := Start(t)
	own := p.Discover(t, backend)
	p.register(t, own, instance(t, "backend-services-001")).Want(t, http.StatusCreated, "", "")
	path := servicesPath + "/backend-services-001"
	development := p.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover)
	development.Environment = auth.Development

	for _, tok := range []string{p.Discover(t, gateway), p.Mint(t, development)} {
		p.register(t, tok, instance(t, "backend-services-009")).Want(t, http.StatusForbidden, "not_owner", "")
		p.register(t, tok, instance(t, "backend-services-001", "version", `"6.6.6"`)).Want(t, http.StatusForbidden, "not_owner", "")
		p.Do(t, Request{Method: http.MethodPut, Path: path + "/heartbeat", Token: tok}).Want(t, http.StatusForbidden, "not_owner", "")
		p.Do(t, Request{Method: http.MethodPatch, Path: path, Token: tok, Body: `{"weight":0}`}).Want(t, http.StatusForbidden, "not_owner", "")
		p.Do(t, Request{Method: http.MethodDelete, Path: path, Token: tok}).Want(t, http.StatusForbidden, "not_owner", "")
	}
	// Scopes that a credential claims and the policy does not grant do not count.
	p.Do(t, Request{Method: http.MethodDelete, Path: path, Token: p.Token(t, gateway, auth.PlatformAudience, auth.AllScopes)}).Want(t, http.StatusForbidden, "not_owner", "")
	// An operator may.
	p.Do(t, Request{Method: http.MethodDelete, Path: path, Token: p.Operator(t)}).Want(t, http.StatusNoContent, "", "")
}

func TestInvalidRegistrations(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	endpoint := func(url, protocol string, port int) string {
		return fmt.Sprintf(`[{"name":"api","url":%q,"protocol":%q,"port":%d}]`, url, protocol, port)
	}
	for _, tc := range []struct{ name, body, field string }{
		{"an id that is a name", instance(t, "isectech-backend-services"), "service_id"},
		{"an id that is an alias", instance(t, "backend-services"), "service_id"},
		{"an id that shadows another's name", instance(t, "api-gateway"), "service_id"},
		{"an id of another service", instance(t, "admin-001"), "service_id"},
		{"an id of other form", instance(t, "backend-services-É"), "service_id"},
		{"an id that is too long", instance(t, "backend-services-"+strings.Repeat("1", 63)), "service_id"},
		{"unknown field", instance(t, "backend-services-1", "colour", `"red"`), "colour"},
		{"another case", instance(t, "backend-services-1", "Weight", `1`), "Weight"},
		{"no such environment", instance(t, "backend-services-1", "environment", `"moon"`), ""},
		{"metadata address", instance(t, "backend-services-1", "endpoints", endpoint("http://169.254.169.254/", "http", 80)), "endpoints[0].url"},
		{"loopback in production", instance(t, "backend-services-1", "endpoints", endpoint("http://127.0.0.1:9000", "http", 9000)), "endpoints[0].url"},
		{"decimal address", instance(t, "backend-services-1", "endpoints", endpoint("http://2130706433/", "http", 80)), "endpoints[0].url"},
		{"user info", instance(t, "backend-services-1", "endpoints", endpoint("https://a@api.isectech.com", "https", 443)), "endpoints[0].url"},
		{"port that disagrees", instance(t, "backend-services-1", "endpoints", endpoint("https://api.isectech.com:8443", "https", 443)), "endpoints[0].port"},
		{"negative weight", instance(t, "backend-services-1", "weight", "-1"), "weight"},
		{"negative lease", instance(t, "backend-services-1", "lease", `"-5s"`), "lease"},
		{"not JSON", `{"service_id":`, ""},
		{"twice", `{"service_id":"backend-services-1","service_id":"backend-services-2"}`, "service_id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := p.register(t, tok, tc.body)
			if a.Status == http.StatusForbidden && tc.field == "" {
				return // whose it would be is settled first
			}
			a.Want(t, http.StatusBadRequest, "invalid_request", "")
			if tc.field != "" && !strings.Contains(a.Text, fmt.Sprintf(`"field":%q`, tc.field)) {
				t.Errorf("no finding for %s: %s", tc.field, a.Text)
			}
		})
	}
	p.register(t, tok, strings.Repeat("x", 2<<20)).Want(t, http.StatusRequestEntityTooLarge, "too_large", "")
	p.Do(t, Request{Method: http.MethodPost, Path: registerPath, Token: tok, Body: "a=b", Type: form}).Want(t, http.StatusUnsupportedMediaType, "", "")
}

func TestRacingRegistrations(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	const racers = 16
	answers := make([]Answer, racers)
	var group sync.WaitGroup
	for i := range racers {
		group.Go(func() {
			answers[i] = p.register(t, tok, instance(t, "backend-services-001", "version", fmt.Sprintf(`"1.0.%d"`, i)))
		})
	}
	group.Wait()
	created := 0
	for _, a := range answers {
		switch a.Status {
		case http.StatusCreated:
			created++
		case http.StatusConflict:
			if a.Body["generation"] == nil {
				t.Errorf("409 without the generation: %s", a.Text)
			}
		case http.StatusOK: // came after the race
		default:
			t.Errorf("got %d %s", a.Status, a.Text)
		}
	}
	if created != 1 {
		t.Errorf("%d registrations were new, want 1", created)
	}
	report, err := store.Verify(t.Context(), p.Store, p.Clock.Now())
	if err != nil || !report.Clean() {
		t.Errorf("journal: %v %v", report.Faults, err)
	}
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	first := p.register(t, tok, instance(t, "backend-services-001"))
	path := servicesPath + "/backend-services-001"
	patch := func(etag string) Answer {
		return p.Do(t, Request{
			Method: http.MethodPatch, Path: path, Token: tok, Body: `{"status":"maintenance","tags":["blue"]}`,
			Header: http.Header{"If-Match": {etag}},
		})
	}
	second := patch(first.Header.Get("ETag"))
	second.Want(t, http.StatusOK, "", "")
	if second.String("status") != "maintenance" || second.Body["generation"] != 2.0 {
		t.Errorf("got %s", second.Text)
	}
	for _, stale := range []string{first.Header.Get("ETag"), `"99"`, `W/"2"`, "nonsense"} {
		a := patch(stale)
		a.Want(t, http.StatusPreconditionFailed, "precondition_failed", "")
		if a.Body["generation"] != 2.0 {
			t.Errorf("%s: %s", stale, a.Text)
		}
	}
	p.Do(t, Request{Method: http.MethodPatch, Path: path, Token: tok, Body: `{"status":"healthy"}`}).Want(t, http.StatusBadRequest, "invalid_request", "")
	p.Do(t, Request{Method: http.MethodPatch, Path: path, Token: tok, Body: `{"endpoints":[]}`}).Want(t, http.StatusBadRequest, "invalid_request", "")
}

func TestLease(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	path := servicesPath + "/backend-services-001"
	endpoint := servicesPath + "/backend-services/endpoints/api"
	beat := Request{Method: http.MethodPut, Path: path + "/heartbeat", Token: tok}
	a := p.register(t, tok, instance(t, "backend-services-001", "lease", `"60s"`))
	a.Want(t, http.StatusCreated, "", "")

	p.Clock.Advance(40 * time.Second)
	b := p.Do(t, beat)
	b.Want(t, http.StatusOK, "", "")
	if b.Header.Get("ETag") != a.Header.Get("ETag") || b.Body["generation"] != 1.0 {
		t.Errorf("a heartbeat changed the record: %s", b.Text)
	}
	p.Clock.Advance(60*time.Second - time.Millisecond)
	p.Do(t, Request{Path: endpoint, Token: tok}).Want(t, http.StatusOK, "", "")
	p.Clock.Advance(time.Millisecond)
	p.Do(t, Request{Path: endpoint, Token: tok}).Want(t, http.StatusNotFound, "not_found", "")
	lapsed := p.Do(t, Request{Path: path, Token: tok})
	lapsed.Want(t, http.StatusOK, "", "")
	if lapsed.String("lease_expires_at") == "" || lapsed.Body["lapsed"] != true {
		t.Errorf("got %s", lapsed.Text)
	}
	p.Do(t, beat).Want(t, http.StatusOK, "", "")
	p.Do(t, Request{Path: endpoint, Token: tok}).Want(t, http.StatusOK, "", "")

	p.Do(t, Request{Method: http.MethodDelete, Path: path, Token: tok}).Want(t, http.StatusNoContent, "", "")
	p.Do(t, beat).Want(t, http.StatusNotFound, "not_found", "")
	p.Do(t, Request{Path: path, Token: tok}).Want(t, http.StatusNotFound, "not_found", "")
	p.register(t, tok, instance(t, "backend-services-001")).Want(t, http.StatusCreated, "", "")
}

func TestPages(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	for i := range 25 {
		p.register(t, tok, instance(t, fmt.Sprintf("backend-services-%03d", i), "tags", fmt.Sprintf(`["t%d"]`, i%2), "region", `"us-central1"`)).Want(t, http.StatusCreated, "", "")
	}
	seen := map[string]int{}
	for path, pages := servicesPath+"?limit=10&fields=service_id,tags&environment=production", 0; ; pages++ {
		a := p.Do(t, Request{Path: path, Token: tok})
		a.Want(t, http.StatusOK, "", "")
		var page struct {
			Services []map[string]json.RawMessage
			Next     string `json:"next_page_token"`
		}
		if err := json.Unmarshal([]byte(a.Text), &page); err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Services {
			seen[string(s["service_id"])]++
			if len(s) != 2 {
				t.Errorf("fields %v", s)
			}
		}
		if page.Next == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
		path = servicesPath + "?limit=10&fields=service_id,tags&environment=production&page_token=" + page.Next
	}
	if len(seen) != 25 {
		t.Errorf("%d instances", len(seen))
	}
	for _, bad := range []string{"?limit=501", "?limit=0", "?limit=x", "?page_token=x", "?fields=secret", "?status=fine", "?environment=moon", "?colour=red", "?limit=1&limit=2"} {
		p.Do(t, Request{Path: servicesPath + bad, Token: tok}).Want(t, http.StatusBadRequest, "invalid_request", "")
	}
	only := p.Do(t, Request{Path: servicesPath + "?tag=t1&status=healthy&region=us-central1&version=2.0.0&name=backend", Token: tok})
	if n := len(only.Body["services"].([]any)); n != 12 {
		t.Errorf("%d instances with the tag", n)
	}
}

func TestSignedRegistration(t *testing.T) {
	t.Parallel()
	p := Start(t)
	call := Request{Method: http.MethodPost, Path: registerPath, Body: instance(t, "backend-services-001"), Sign: backend}
	p.Do(t, call).Want(t, http.StatusCreated, "", "")
	call.Edit = func(r *http.Request) { r.Header.Set("X-Content-SHA256", strings.Repeat("a", 64)) }
	p.Do(t, call).Want(t, http.StatusUnauthorized, "authentication_failed", "bad_signature")
	call.Edit = nil
	call.Token = "x.y.z"
	p.Do(t, call).Want(t, http.StatusUnauthorized, "authentication_failed", "malformed_token")
	call.Token = p.Discover(t, gateway)
	p.Do(t, call).Want(t, http.StatusUnauthorized, "authentication_failed", "identity_mismatch")
}

func TestHealth(t *testing.T) {
	t.Parallel()
	p := Start(t)
	stranger := p.Do(t, Request{Path: "/internal/registry/health"})
	stranger.Want(t, http.StatusOK, "", "")
	if stranger.Body["statuses"] != nil {
		t.Error("the counts are told to strangers")
	}
	known := p.Do(t, Request{Path: "/internal/registry/health", Token: p.Discover(t, backend)})
	known.Want(t, http.StatusOK, "", "")
	if known.Body["statuses"] == nil {
		t.Errorf("no counts: %s", known.Text)
	}
	m := p.Do(t, Request{Path: "/metrics", Token: p.Operator(t)})
	m.Want(t, http.StatusOK, "", "")
	for _, name := range []string{"http_requests_total", "service_auth_attempts_total", "http_request_duration_seconds"} {
		if !strings.Contains(m.Text, name) {
			t.Errorf("no %s", name)
		}
	}
}
