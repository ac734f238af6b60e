package authz

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Whatever strangers send, and however many tokens there are, the function's memory does not grow with it: kids,
// names, methods, paths, request ids. LONG=1 makes it a million requests.
func TestManyRequests(t *testing.T) { // not parallel: it looks at the heap
	n := 3000
	if os.Getenv("LONG") != "" {
		n = 1_000_000
	}
	p := platformtest.New(t)
	s := New(Config{}, Deps{
		Store: p.Store, Secrets: p.Secrets, Now: p.Clock.Now, Metrics: telemetry.NewMetrics(),
		Logger: telemetry.NewLogger(io.Discard, telemetry.LogOptions{Service: Name}),
	})
	h := s.Handler()
	ask := func(i int, bearer string, header ...string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://authz/internal/auth/validate", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.RequestURI, r.RemoteAddr = "/internal/auth/validate", fmt.Sprintf("10.%d.%d.%d:1024", i>>16&0xff, i>>8&0xff, i&0xff)
		r.Header.Set("Authorization", "Bearer "+bearer)
		r.Header.Set("X-Request-ID", token.NewID())
		for j := 0; j+1 < len(header); j += 2 {
			r.Header.Set(header[j], header[j+1])
		}
		w := &sink{header: http.Header{}}
		h.ServeHTTP(w, r)
		return w.status
	}
	from := 0
	many := func(n int) {
		for i := from; i < from+n; i++ {
			name := fmt.Sprintf("stranger-%d", i)
			unknown := authtest.Unsigned(`{"alg":"ES256","kid":"`+name+`","typ":"at+jwt"}`, `{"sub":"`+name+`"}`)
			if got := ask(i, unknown, "X-Target-Service", name, "X-Service-Name", name); got != http.StatusUnauthorized {
				t.Fatalf("a kid that there is not: %d", got)
			}
			if i%16 == 0 { // minting is what takes the time
				raw := p.Token(t, gateway, backend, auth.APIRead)
				if got := ask(i, raw, "X-Target-Service", name); got != http.StatusForbidden {
					t.Fatalf("a target that there is not: %d", got)
				}
				if got := ask(i, raw, "X-Target-Service", backend, "X-Required-Scopes", "api:read "+name); got != http.StatusForbidden {
					t.Fatalf("a scope that there is not: %d", got)
				}
			}
		}
		from += n
	}
	many(2 * n / 3) // what is kept of the first of anything is kept
	before := heapAlloc()
	many(n)
	const perToken = 4 << 10 // of those that are remembered, which are few here
	grown := heapAlloc() - before
	if t.Logf("after %d requests the heap is %d bytes larger", n, grown); grown > 1<<20+min(int64(n/16), maxTokens)*perToken {
		t.Error("that is too much")
	}
}

func heapAlloc() int64 {
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
