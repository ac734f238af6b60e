package register

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

const services = "/internal/registry/services"

// call sends a request with a token, as it comes over HTTP. token "" stands for the backend's own.
func (f *fixture) call(t testing.TB, token, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	if token == "" {
		token = f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	f.http.ServeHTTP(w, r)
	return w
}

// operator mints an operator's token.
func (f *fixture) operator(t testing.TB) string {
	t.Helper()
	return f.Token(t, "operator:ops@isectech.com", auth.PlatformAudience, auth.AdminRead|auth.AdminWrite|auth.ServiceDiscover)
}

// read decodes an answer that must be there.
func read[T any](t testing.TB, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if w.Code != http.StatusOK && w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return v
}

func leaseOf(id string) store.Ref { return store.Ref{Collection: store.Leases, ID: id} }
