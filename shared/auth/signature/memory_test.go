package signature_test

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

// Distinct nonces in a row, those that have expired making room and those beyond the limit refused, take up no
// more memory than the limit says. LONG=1 makes it a million.
func TestManyNonces(t *testing.T) { // not parallel: it looks at the heap
	n := 50_000
	if os.Getenv("LONG") != "" {
		n = 1_000_000
	}
	const limit = 1000
	now := authtest.Now
	m := signature.NewMemoryNonces(limit, func() time.Time { return now })
	refused := 0
	use := func(n int) {
		for range n {
			now = now.Add(time.Millisecond)
			switch err := m.Use(t.Context(), token.NewID(), now.Add(2*time.Second)); {
			case errors.Is(err, signature.ErrNoncesFull):
				refused++
			case err != nil:
				t.Fatal(err)
			}
		}
	}
	use(10 * limit) // fill it
	before := heap()
	use(n)
	grown := heap() - before
	if t.Logf("after %d nonces the heap is %d bytes larger", n, grown); grown > 1<<20 {
		t.Error("that is too much")
	}
	if m.Len() > limit || refused < n/4 {
		t.Errorf("%d nonces are held, %d were refused", m.Len(), refused)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}
