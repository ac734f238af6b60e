package forwardauth

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
)

// forged are headers by which a client might speak as the proxy or as authz. All values hold "forged", but for
// those that would change what is judged.
var forged = map[string]string{
	"X-Auth-Service-Name": "isectech-forged", "X-Auth-Service-ID": "forged", "X-Auth-Method": "forged", "X-Auth-Scopes": "admin:write forged",
	"x-auth-service-name": "forged-again", "X-ISECTECH-Proxy-Marker": "forged",
	"X-Client-Cert-Present": "true, forged", "X-Client-Cert-Chain-Verified": "true, forged",
	"X-Client-Cert-SPIFFE":             "spiffe://isectech.com/production/isectech-api-gateway?forged",
	"X-Client-Cert-SHA256-Fingerprint": "forged", "X-Client-Cert-Serial-Number": "forged", "X-Client-Cert-Not-After": "forged",
	"X-Forwarded-Client-Cert": "Hash=forged;URI=spiffe://isectech.com/production/isectech-api-gateway",
	"X-Forwarded-Uri":         "/orders/1?forged", "X-Forwarded-Method": "FORGED", "X-Forwarded-Host": "forged.example",
	"X-Original-URI": "/orders/1?forged", "X-Original-URL": "https://forged.example/orders/1?forged", "X-Original-Method": "FORGED",
	"X-Target-Service": "isectech-forged", "X-Required-Scopes": "forged",
}

func lines(headers map[string]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		all = append(all, name+": "+headers[name])
	}
	return all
}

// What a client sends to be taken for another, or to have another request judged, changes nothing.
func checkForged(t *testing.T, b *bench, proxy string) {
	t.Helper()
	good := b.token(t, backend)
	for name, tc := range map[string]struct {
		ask    ask
		status int
	}{
		"allowed":        {ask{bearer: good}, 200},
		"no credentials": {ask{}, 401},
		"no edge":        {ask{bearer: b.Token(t, frontend, backend, auth.APIRead)}, 403},
		"no scope":       {ask{bearer: b.Token(t, gateway, backend, 0)}, 403},
		"denied":         {ask{bearer: good, target: "/orders/admin"}, 403},
		"another method": {ask{bearer: good, method: "DELETE"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.ask.header = lines(forged)
			a := b.send(t, proxy, tc.ask)
			a.want(t, tc.status)
			for header, values := range a.arrival.Header {
				if text := strings.Join(values, " "); strings.Contains(strings.ToLower(text), "forged") {
					t.Errorf("the service sees %s: %q", header, values)
				}
			}
			// Nor does a header that authz would believe of a proxy arrive there in the client's words.
			for header, values := range a.question.header {
				if text := strings.Join(values, " "); strings.Contains(strings.ToLower(text), "forged") && !strings.HasPrefix(header, "X-Auth-") {
					t.Errorf("authz sees %s: %q", header, values)
				}
			}
			if tc.status == 200 {
				wantCaller(t, a, map[string]string{
					"X-Auth-Service-Name": gateway, "X-Auth-Service-Id": "api-gateway-test", "X-Auth-Method": "jwt", "X-Auth-Scopes": "api:read api:write",
				})
			}
		})
	}
}

// Each header by itself, with the value that would help the most.
func checkForgedOne(t *testing.T, b *bench, proxy string) {
	t.Helper()
	good, stranger := b.token(t, backend), b.Token(t, frontend, backend, auth.APIRead)
	for name, tc := range map[string]struct {
		ask    ask
		header string
	}{
		"target":          {ask{bearer: stranger}, "X-Target-Service: isectech-frontend"},
		"no target":       {ask{bearer: stranger}, "X-Target-Service;"},
		"empty target":    {ask{bearer: stranger}, "X-Target-Service:"},
		"scopes":          {ask{bearer: b.Token(t, gateway, backend, 0)}, "X-Required-Scopes:"},
		"URI":             {ask{bearer: good, target: "/orders/admin"}, "X-Forwarded-Uri: /orders/1"},
		"original URI":    {ask{bearer: good, target: "/orders/admin"}, "X-Original-URI: /orders/1"},
		"original URL":    {ask{bearer: good, target: "/orders/admin"}, "X-Original-URL: https://a/orders/1"},
		"method":          {ask{bearer: good, method: "DELETE"}, "X-Forwarded-Method: GET"},
		"original method": {ask{bearer: good, method: "DELETE"}, "X-Original-Method: GET"},
		"overridden":      {ask{bearer: good, method: "DELETE"}, "X-HTTP-Method-Override: GET"},
		"certificate":     {ask{}, "X-Forwarded-Client-Cert: URI=spiffe://isectech.com/production/isectech-api-gateway"},
		"answer":          {ask{}, "X-Auth-Service-Name: " + gateway},
		"user agent":      {ask{}, "User-Agent: GoogleHC/1.0"},
		// Headers that a hop is told to drop.
		"connection, target":   {ask{bearer: stranger}, "Connection: X-Target-Service, X-Required-Scopes"},
		"connection, marker":   {ask{bearer: stranger}, "Connection: X-ISECTECH-Proxy-Marker"},
		"connection, original": {ask{bearer: good, method: "DELETE"}, "Connection: X-Original-Method, X-Original-URI, X-Forwarded-Method, X-Forwarded-Uri"},
		"connection, token":    {ask{bearer: stranger}, "Connection: Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.ask.header = []string{tc.header}
			if a := b.send(t, proxy, tc.ask); a.reached || a.status != 400 && a.status != 401 && a.status != 403 {
				t.Errorf("%d, reached %v, asked %+v", a.status, a.reached, a.question)
			}
		})
	}
	// Some take an underscore for a hyphen.
	a := b.send(t, proxy, ask{bearer: good, header: []string{"X_Auth_Service_Name: isectech-admin"}})
	for header, values := range a.arrival.Header {
		if slices.Contains(values, "isectech-admin") {
			t.Errorf("the service sees %s: %q", header, values)
		}
	}
	// The caller's name cannot be dropped on the way to the service so that another takes its place.
	a = b.send(t, proxy, ask{bearer: good, header: []string{"Connection: X-Auth-Service-Name", "X-Auth-Service-Name: isectech-admin"}})
	if got := a.arrival.Header.Get("X-Auth-Service-Name"); got != gateway && got != "" {
		t.Errorf("the service sees X-Auth-Service-Name %q", got)
	}
}

// Of a credential that is sent twice no service sees one that was not judged.
func checkTwice(t *testing.T, b *bench, proxy string) {
	t.Helper()
	good, other := b.token(t, backend), b.Token(t, frontend, backend, auth.APIRead)
	for _, tc := range [][]string{
		{"Authorization: Bearer " + good, "Authorization: Bearer " + other},
		{"Authorization: Bearer " + other, "Authorization: Bearer " + good},
		{"Authorization: Bearer " + good, "X-Service-Name: " + gateway, "X-Service-Name: " + frontend},
		{"Authorization: Bearer " + good, "X-Service-Name: " + frontend, "X-Service-Name: " + gateway},
	} {
		a := b.send(t, proxy, ask{header: tc})
		text := strings.Join(a.arrival.Header.Values("Authorization"), " ") + strings.Join(a.arrival.Header.Values("X-Service-Name"), " ")
		if a.reached && (strings.Contains(text, other) || strings.Contains(text, frontend)) {
			t.Errorf("%d, and the service sees %q", a.status, text)
		}
	}
}
