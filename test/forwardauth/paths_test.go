package forwardauth

import (
	"math/rand/v2"
	"net/url"
	"path"
	"strings"
	"testing"
)

// hostile are paths that somebody on the way may read differently from the next.
var hostile = []string{
	"/orders/admin", "/orders/admin/", "/orders/%61dmin", "/orders/%2561dmin", "//orders//admin", "/orders/./admin", "/orders/x/../admin",
	"/orders/x/%2e%2e/admin", "/orders/x/%2E%2E%2Fadmin", "/orders%2Fadmin", "/orders/x/..%2fadmin", "/orders/x/..%5cadmin", `/orders/x/..\admin`,
	"/orders/admin;v=1", "/orders/..;/orders/admin", "/orders/x/..;/admin", "/orders/.;/admin", "/orders/admin%00", "/orders/admin%00.html",
	"/orders/admin%20", "/orders/admin.", "/orders/admin?", "/orders/admin%3fx", "/orders/admin#x", "/orders/admin%23x", "/ORDERS/admin", "/Orders/ADMIN",
	"/site/../orders/admin", "/site/..%2forders/admin", "/site/%2e%2e/orders/admin", "/orders/../site/x", "/orders/%2e%2e/site/x", "/orders/..%2fsite/x",
	"/orders/../../site", "/orders//../site/x", "/site//../orders/x", "/site/x//../../orders/1", "/orders/admin//../x", "/orders/x//../../admin", "/orders/%c0%af../admin",
	"/orders/%e0%80%af", "/orders/\xff", "/orders/%", "/orders/%zz", "/orders/x%0d%0aX-Auth-Service-Name:%20a", "/orders", "/orders/", "/ordersx", "/orders/é",
	"*", "http://127.0.0.1/orders/1", "http://other.isectech.com/orders/1", "http://other.isectech.com/orders/admin", "https://other.isectech.com/orders/1",
	"//other.isectech.com/orders/1", "/_isectech_validate", "/_isectech_validate?x", "/internal/auth/validate", "/.//orders/admin", "/./orders/1", "/orders/1/.", "/orders/1/..",
	"/orders/1?/../admin", "/orders/1?X-Target-Service=isectech-frontend", "/orders/1%3f/../admin", "/orders/1/%252e%252e/admin",
}

// readings are the paths that programs may take a path as sent for.
func readings(sent string) []string {
	sent, _, _ = strings.Cut(sent, "?")
	all := []string{sent, path.Clean(sent)}
	text := sent
	for range 2 { // and decoded twice
		decoded, err := url.PathUnescape(text)
		if err != nil {
			break
		}
		text = decoded
		slashed := strings.ReplaceAll(text, `\`, "/")
		bare := withoutParameters(slashed)
		all = append(all, text, path.Clean(text), path.Clean(slashed), path.Clean(bare), resolve(text), resolve(bare))
	}
	return all
}

// withoutParameters takes off what follows a ; in each segment, as servlet containers do.
func withoutParameters(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// resolve removes dot segments as RFC 3986 says, which leaves empty segments where they are.
func resolve(p string) string {
	u, err := url.Parse("http://h")
	if err != nil {
		return p
	}
	return u.ResolveReference(&url.URL{Path: p}).Path
}

func under(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

// However a path is written: what reaches a service is what was judged, at the service that it was judged for,
// and no reading of it is one that the policy does not allow.
func checkPaths(t *testing.T, b *bench, proxy string) {
	t.Helper()
	tokens := []string{b.token(t, backend), b.token(t, frontend)}
	passed := 0
	for i, target := range append(hostile, made(150)...) {
		for j, bearer := range tokens {
			if i >= len(hostile) && strings.HasPrefix(target, "/site/") != (j == 1) {
				continue // one of the two will do
			}
			a := b.send(t, proxy, ask{target: target, bearer: bearer})
			if a.status == 200 != a.reached {
				t.Errorf("%s: %d, reached %v", target, a.status, a.reached)
			}
			if !a.reached {
				continue
			}
			passed++
			if judged := a.question.header.Get("X-Target-Service"); judged != a.arrival.Service {
				t.Errorf("%s: judged for %s and sent to %s", target, judged, a.arrival.Service)
			}
			if a.arrival.Service == frontend {
				continue // there, the policy allows every path
			}
			for _, reading := range readings(a.arrival.Target) {
				if under(reading, "/orders/admin") || !under(path.Clean(reading), "/orders") {
					t.Errorf("%s: reaches the service as %s, to be read as %s", target, a.arrival.Target, reading)
				}
			}
		}
	}
	if passed < 20 {
		t.Errorf("only %d requests were let through", passed)
	}
}

// made returns paths made of what is ambiguous, the same in every run.
func made(n int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{
		"/", "/", "/orders", "/site", "/admin", "/x", "/..", "/.", "//", "%2f", "%2e", "%2e%2e", ";a", "%5c", "%20", "%61dmin", "..", "%252f", "?", "%00",
	}
	var all []string
	for range n {
		text := []string{"/orders/", "/site/", "/"}[random.IntN(3)]
		for range 1 + random.IntN(5) {
			text += parts[random.IntN(len(parts))]
		}
		all = append(all, text)
	}
	return all
}
