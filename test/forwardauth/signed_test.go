package forwardauth

import (
	"testing"

	"github.com/isectech/service-networking/shared/auth/signature"
)

// signed signs what the gateway is about to send.
func (b *bench) signed(t *testing.T, a ask) ask {
	t.Helper()
	path, query, err := signature.Target(a.target)
	if err != nil {
		t.Fatal(err)
	}
	key := b.APIKey(t, gateway)
	h, err := key.Key.Headers(signature.Request{
		Method: a.method, Path: path, RawQuery: query, Host: a.host, BodySHA256: signature.BodyDigest([]byte(a.body)),
		Service: gateway, KeyID: key.KeyID, Timestamp: signature.FormatTimestamp(b.Clock.Now()), Nonce: signature.NewNonce(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range h {
		a.header = append(a.header, name+": "+values[0])
	}
	return a
}

// A signature is judged over what the client sent: its method, its path and query, its host, the body's digest.
func checkSigned(t *testing.T, b *bench, proxy string) {
	t.Helper()
	one := ask{method: "POST", target: "/orders/new/a%20b?b=%2F&a=1+1&&c", host: "Orders.isectech.com:8443", body: "body"}
	a := b.send(t, proxy, b.signed(t, one))
	a.want(t, 200)
	wantCaller(t, a, map[string]string{
		"X-Auth-Service-Name": gateway, "X-Auth-Method": "api_key", "X-Content-Sha256": signature.BodyDigest([]byte("body")),
	})
	if got := a.arrival.Header.Get("X-Auth-Service-Id"); got != "" { // a key is the service's, not an instance's
		t.Errorf("X-Auth-Service-Id %q", got)
	}
	if got := a.arrival.Header.Values("X-Api-Key"); len(got) > 0 {
		t.Errorf("the service sees the signature: %q", got)
	}

	sent := b.signed(t, one)
	b.send(t, proxy, sent).want(t, 200)
	b.send(t, proxy, sent).want(t, 401) // again

	for name, change := range map[string]func(*ask){
		"method": func(a *ask) { a.method = "GET" },
		"path":   func(a *ask) { a.target = "/orders/new/b?b=%2F&a=1+1&&c" },
		"query":  func(a *ask) { a.target = "/orders/new/a%20b?b=%2F&a=2&&c" },
		"host":   func(a *ask) { a.host = "orders.isectech.com" },
		// By this one NGINX routes, and would tell authz the other.
		"host before the path": func(a *ask) { a.target = "http://other.isectech.com" + a.target },
		// The proxy tells authz the digest that the client states. It is the service that compares the body.
		"digest": func(a *ask) { a.header = append(a.header, "X-Content-SHA256: "+signature.BodyDigest([]byte("other"))) },
		"forged": func(a *ask) {
			a.header = append(a.header, "X-Forwarded-Host: orders.isectech.com:8443", "X-Forwarded-Uri: "+one.target)
			a.host = "x"
		},
	} {
		changed := b.signed(t, one)
		change(&changed)
		a := b.send(t, proxy, changed)
		if name == "digest" && a.reached { // one of two digests was judged, and it alone arrives
			if got := a.arrival.Header.Values("X-Content-Sha256"); len(got) != 1 || got[0] != signature.BodyDigest([]byte("body")) {
				t.Errorf("the service sees the digests %q", got)
			}
			continue
		}
		if a.reached || a.status != 401 && a.status != 400 {
			t.Errorf("another %s: %d, reached %v", name, a.status, a.reached)
		}
	}

	swapped := b.signed(t, one)
	swapped.body = "BODY"
	a = b.send(t, proxy, swapped)
	a.want(t, 200)
	if digest := a.arrival.Header.Get("X-Content-Sha256"); digest == signature.BodyDigest([]byte(a.arrival.Body)) {
		t.Error("the service cannot tell that the body was swapped")
	}
}
