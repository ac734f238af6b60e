package authz

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// Where nothing but the store is shared, a signed request is good once for all instances together, reads too, and
// nobody says of one whether it was seen before while the store is out of reach.
func TestNoncesWithoutRedis(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := *f
	other.Service = New(f.cfg, f.deps)
	other.handler = other.Handler()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		sign := func() http.Header {
			r := httptest.NewRequest(method, "/internal/auth/validate", nil)
			if err := f.APIKey(t, gateway).SignHTTP(r, nil); err != nil {
				t.Fatal(err)
			}
			return r.Header
		}
		ask := func(f *fixture, signed http.Header) int {
			r := httptest.NewRequest(method, "/internal/auth/validate", nil)
			r.Header = signed.Clone()
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			return w.Code
		}
		signed := sign()
		if first, second, third := ask(f, signed), ask(&other, signed), ask(f, signed); first != 200 || second != 401 || third != 401 {
			t.Errorf("%s: %d, then %d on another instance and %d", method, first, second, third)
		}
		f.store.Fail(storetest.CallCommit, 1, store.ErrUnavailable)
		if got := ask(f, sign()); got != auth.NonceUnavailable.Status() {
			t.Errorf("%s without the store: %d", method, got)
		}
	}
}
