package contract

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/events"
)

// A thousand requests a minute, however they are shared between validating and asking for tokens.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	p := Start(t)
	token := p.Token(t, gateway, backend, auth.APIRead)
	validate := Request{Path: validatePath, Token: token, Header: http.Header{"X-Target-Service": {backend}}}
	issue := Request{Method: http.MethodPost, Path: tokenPath, Sign: gateway, Type: form, Body: "grant_type=client_credentials"}
	for i := range 999 {
		a := p.Do(t, validate)
		a.Want(t, http.StatusOK, "", "allowed")
		if got, want := a.Header.Get("RateLimit"), fmt.Sprintf(`"default";r=%d;t=`, 999-i); !strings.HasPrefix(got, want) {
			t.Fatalf("after %d: RateLimit %s", i+1, got)
		}
	}
	a := p.Do(t, issue)
	a.Want(t, http.StatusOK, "", "")
	if got := a.Header.Get("RateLimit") + " " + a.Header.Get("RateLimit-Policy"); got != `"default";r=0;t=60 "default";q=1000;w=60` {
		t.Errorf("the last: %s", got)
	}
	p.Clock.Advance(time.Millisecond) // for another nonce
	for name, r := range map[string]Request{"validate": validate, "a token": issue} {
		a := p.Do(t, r)
		a.Want(t, http.StatusTooManyRequests, "rate_limited", "rate_limited")
		if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 {
			t.Errorf("%s: Retry-After %q", name, a.Header.Get("Retry-After"))
		}
		if got := a.Header.Get("RateLimit") + " " + a.Header.Get("RateLimit-Policy"); got != `"default";r=0;t=1 "default";q=1000;w=60` {
			t.Errorf("%s: %s", name, got)
		}
	}
	p.Do(t, Request{Path: validatePath, Token: p.Token(t, frontend, gateway, auth.APIRead)}).Want(t, http.StatusOK, "", "allowed")
	p.Clock.Advance(time.Minute)
	p.Do(t, validate).Want(t, http.StatusOK, "", "allowed")
}

// A replay is told once, by the function that keeps the nonces, wherever it was tried.
func TestReplayIsTold(t *testing.T) {
	t.Parallel()
	p := Start(t)
	var signed http.Header
	keep := func(r *http.Request) { signed = r.Header.Clone() }
	p.Do(t, Request{Path: servicesPath, Sign: gateway, Edit: keep}).Want(t, http.StatusOK, "", "")
	for range 2 {
		p.Do(t, Request{Path: servicesPath, Header: signed}).Want(t, http.StatusUnauthorized, "authentication_failed", "replayed")
	}
	var told []string
	for _, e := range p.Published.On(events.TopicSecurityEvents) {
		told = append(told, e.Type+" "+e.Source+" "+e.Subject)
	}
	if want := "com.isectech.security.replay_detected.v1 //isectech.com/functions/Authz " + gateway; len(told) != 1 || told[0] != want {
		t.Errorf("told %q, want %s", told, want)
	}
}

// What only the handler can refuse is told as well.
func TestBoundariesAreTold(t *testing.T) {
	t.Parallel()
	p := Start(t)
	token := p.Discover(t, gateway)
	p.Do(t, Request{
		Method: http.MethodPost, Path: "/internal/registry/register", Token: token,
		Body: `{"service_id":"frontend-1","service_name":"frontend","version":"1.0.0","environment":"production",
			"endpoints":[{"name":"api","url":"https://api.isectech.com","protocol":"https","port":443}]}`,
	}).Want(t, http.StatusForbidden, "not_owner", "")
	p.Do(t, Request{
		Method: http.MethodPost, Path: "/internal/auth/authorize", Token: token, Body: `[{"caller":"frontend","target":"admin"}]`,
	}).Want(t, http.StatusForbidden, "insufficient_scope", "")
	p.Do(t, Request{Method: http.MethodPost, Path: "/internal/auth/revoke", Token: token, Body: `{"service_name":"frontend"}`}).
		Want(t, http.StatusForbidden, "insufficient_scope", "")
	var told []string
	for _, e := range p.Published.On(events.TopicSecurityEvents) {
		told = append(told, strings.TrimPrefix(e.Type, "com.isectech.security.")+" "+e.Subject)
	}
	if diff := cmp.Diff([]string{"scope_violation.v1 " + gateway, "privilege_violation.v1 " + gateway}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if n := strings.Count(p.Logs.String(), `"request refused"`); n != 3 {
		t.Errorf("%d refusals are recorded", n)
	}
}
