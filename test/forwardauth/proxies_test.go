package forwardauth

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// proxies are the programs that the examples run in, and those that are simulated.
var proxies = map[string]func(*testing.T, *bench) string{
	"NGINX": startNGINX, "Caddy": startCaddy,
	"like Envoy": startEnvoy, "like Traefik": startTraefik, "like Kong": startKong,
}

// checks are what is held of every proxy.
var checks = map[string]func(t *testing.T, b *bench, proxy string){
	"allowed": checkAllowed, "refused": checkRefused, "authz fails": checkAuthzFails, "body": checkBody, "too large": checkTooLarge,
	"forged": checkForged, "forged, one by one": checkForgedOne, "twice": checkTwice, "paths": checkPaths, "signed": checkSigned,
}

func TestProxies(t *testing.T) {
	t.Parallel()
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			proxy := start(t, b)
			for name, check := range checks {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					check(t, b, proxy)
				})
			}
		})
		t.Run(name+", what ends", func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			proxy := start(t, b)
			checkTakenBack(t, b, proxy)
			checkAuthzIsDown(t, b, proxy)
		})
	}
}

func checkAllowed(t *testing.T, b *bench, proxy string) {
	t.Helper()
	a := b.send(t, proxy, ask{
		bearer: b.token(t, backend), target: "/orders/1?a=%2f&explain=true", header: []string{"X-Of-The-Client: yes", "X-Forwarded-For: 203.0.113.9"}, host: "Orders.isectech.com:8443",
	})
	a.want(t, 200)
	wantCaller(t, a, map[string]string{
		"X-Auth-Service-Name": gateway, "X-Auth-Service-Id": "api-gateway-test", "X-Auth-Method": "jwt",
		"X-Auth-Scopes": "api:read api:write", "X-Of-The-Client": "yes",
	})
	if a.arrival.Service != backend || a.arrival.Target != "/orders/1?a=%2f&explain=true" || a.arrival.Host != "Orders.isectech.com:8443" {
		t.Errorf("it reached %+v", a.arrival)
	}
	if asked := a.question.target; asked != "/internal/auth/validate" && asked != "/internal/auth/validate"+a.arrival.Target {
		t.Errorf("authz was asked at %s", a.question.target)
	}
	if from := strings.Split(a.question.header.Get("X-Forwarded-For"), ", "); from[len(from)-1] != "127.0.0.1" {
		t.Errorf("authz was told of a client at %q", from)
	}
	a = b.send(t, proxy, ask{bearer: b.token(t, frontend), target: "/site/"})
	a.want(t, 200)
	if a.arrival.Service != frontend || a.arrival.Header.Get("X-Auth-Service-Name") != gateway {
		t.Errorf("it reached %+v", a.arrival)
	}
}

func wantCaller(t *testing.T, a answer, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := a.arrival.Header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// Each refusal has the status that authz gives it, and no service sees the request.
func checkRefused(t *testing.T, b *bench, proxy string) {
	t.Helper()
	expired := b.Claims(gateway, backend, auth.APIRead)
	expired.IssuedAt, expired.NotBefore = expired.IssuedAt.Add(-time.Hour), expired.NotBefore.Add(-time.Hour)
	expired.ExpiresAt = expired.IssuedAt.Add(5 * time.Minute)
	good := b.token(t, backend)
	for _, tc := range []struct {
		name   string
		ask    ask
		status int
		says   string // a part of WWW-Authenticate
	}{
		{"no credentials", ask{}, 401, `Bearer realm="isectech"`},
		{"another scheme", ask{header: []string{"Authorization: Basic YTpi"}}, 401, "Bearer"},
		{"no token", ask{bearer: "a.b.c"}, 401, `error="invalid_token"`},
		{"a changed signature", ask{bearer: good[:len(good)-4] + "AAAA"}, 401, `error="invalid_token"`},
		{"an expired token", ask{bearer: b.Mint(t, expired)}, 401, "expired"},
		{"a token for another", ask{bearer: b.token(t, frontend)}, 401, `error="invalid_token"`},
		{"a token for the platform", ask{bearer: b.token(t, auth.PlatformAudience)}, 401, `error="invalid_token"`},
		{"another name", ask{bearer: good, header: []string{"X-Service-Name: " + frontend}}, 401, "X-Service-Name"},
		{"half a signature", ask{bearer: good, header: []string{"X-API-Key: 00"}}, 401, "missing"},
		{"no edge", ask{bearer: b.Token(t, frontend, backend, auth.APIRead)}, 403, ""},
		{"no scope", ask{bearer: b.Token(t, gateway, backend, auth.APIWrite)}, 403, ""},
		{"another method", ask{bearer: good, method: "DELETE"}, 403, ""},
		{"a method that nobody knows", ask{bearer: good, method: "BREW"}, 403, ""},
		{"a method elsewhere", ask{bearer: good, method: "POST", body: "x"}, 403, ""},
		{"options", ask{bearer: good, method: "OPTIONS"}, 403, ""},
		{"denied", ask{bearer: good, target: "/orders/admin/1"}, 403, ""},
		{"no route", ask{bearer: good, target: "/elsewhere"}, 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := b.send(t, proxy, tc.ask)
			a.want(t, tc.status)
			if got := a.header.Get("WWW-Authenticate"); !strings.Contains(got, tc.says) {
				t.Errorf("WWW-Authenticate %q, want %q", got, tc.says)
			}
		})
	}
	b.send(t, proxy, ask{bearer: good, method: "HEAD"}).want(t, 200)
	b.send(t, proxy, ask{bearer: good, method: "POST", target: "/orders/new/", body: "x"}).want(t, 200)
}

// Where authz does not answer, or not what it should, nobody gets through.
func checkAuthzFails(t *testing.T, b *bench, proxy string) {
	t.Helper()
	bearer := b.token(t, backend)
	status := map[string][]int{
		"authz-limits": {429}, "authz-is-unavailable": {503}, "authz-fails": {500, 503}, "authz-redirects": {302, 503},
		"authz-hangs": {500, 503, 504}, "authz-breaks": {500, 502, 503},
	}
	retry := map[string]string{"authz-limits": "7", "authz-is-unavailable": "3"}
	if strings.Contains(t.Name(), "Envoy") { // to which a 5xx is no answer
		delete(retry, "authz-is-unavailable")
	}
	for id := range broken {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			a := b.send(t, proxy, ask{bearer: bearer, id: id, method: "POST", target: "/orders/new/", body: "body"})
			if a.reached || !slices.Contains(status[id], a.status) || a.header.Get("Retry-After") != retry[id] {
				t.Errorf("%d, reached %v, Retry-After %q: %s", a.status, a.reached, a.header.Get("Retry-After"), a.body)
			}
		})
	}
}

// What is taken back is refused at once, through a proxy as anywhere.
func checkTakenBack(t *testing.T, b *bench, proxy string) {
	t.Helper()
	claims := b.Claims(gateway, backend, auth.APIRead)
	revoked, other := b.Mint(t, claims), b.token(t, backend)
	b.send(t, proxy, ask{bearer: revoked}).want(t, 200)
	b.operate(t, "/internal/auth/revoke", `{"jti":"`+claims.ID+`","reason":"it leaked"}`)
	b.send(t, proxy, ask{bearer: revoked}).want(t, 401)
	b.send(t, proxy, ask{bearer: other}).want(t, 200)

	b.operate(t, "/internal/auth/quarantine", `{"service_name":"`+frontend+`","reason":"it misbehaves"}`)
	b.send(t, proxy, ask{bearer: b.token(t, frontend), target: "/site/"}).want(t, 403)
	b.send(t, proxy, ask{bearer: other}).want(t, 200)
}

func checkAuthzIsDown(t *testing.T, b *bench, proxy string) {
	t.Helper()
	bearer := b.token(t, backend)
	b.send(t, proxy, ask{bearer: bearer}).want(t, 200)
	b.authz.CloseClientConnections()
	b.authz.Close()
	for range 3 { // a proxy that has found it down says so too
		if a := b.send(t, proxy, ask{bearer: bearer}); a.reached || a.status < 500 {
			t.Errorf("%d, reached %v", a.status, a.reached)
		}
	}
}

// authz never sees a body, and the service gets all of it.
func checkBody(t *testing.T, b *bench, proxy string) {
	t.Helper()
	bearer := b.token(t, backend)
	for name, a := range map[string]ask{
		"in one":    {body: strings.Repeat("b", 100_000)},
		"in chunks": {header: []string{"Transfer-Encoding: chunked", "", "4\r\nbody\r\n0\r\n"}},
	} {
		a.bearer, a.method, a.target = bearer, "POST", "/orders/new/"
		got := b.send(t, proxy, a)
		got.want(t, 200)
		if want := cmp.Or(a.body, "body"); got.arrival.Body != want {
			t.Errorf("%s: %d bytes of %d reached the service", name, len(got.arrival.Body), len(want))
		}
		h := got.question.header
		method := "GET"
		if strings.HasSuffix(got.question.target, got.arrival.Target) { // Envoy asks with the request's own
			method = "POST"
		}
		if got.question.body != 0 || got.question.method != method || strings.Trim(h.Get("Content-Length"), "0") != "" || h.Get("Transfer-Encoding") != "" {
			t.Errorf("%s: authz got %+v", name, got.question)
		}
	}
}

// Requests beyond every bound are refused by somebody.
func checkTooLarge(t *testing.T, b *bench, proxy string) {
	t.Helper()
	good := b.token(t, backend)
	long := func(n int) string { return strings.Repeat("a", n) }
	for name, a := range map[string]ask{
		"a token of 9 KiB":   {bearer: good + long(9<<10)},
		"a header of 70 KiB": {bearer: good, header: []string{"X-A: " + long(70<<10)}},
		"a target of 9 KiB":  {bearer: good, target: "/orders/" + long(9<<10)},
		"many large headers": {bearer: good, header: slices.Repeat([]string{"X-A: " + long(7<<10)}, 10)},
		"two Host headers":   {bearer: good, header: []string{"Host: other.isectech.com"}},
	} {
		if got := b.send(t, proxy, a); got.reached || got.status < 400 || got.status >= 500 {
			t.Errorf("%s: %d, reached %v", name, got.status, got.reached)
		}
	}
	b.send(t, proxy, ask{bearer: good}).want(t, 200)
}
