package httpx_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

func TestMux(t *testing.T) {
	t.Parallel()
	mux := httpx.NewMux()
	say := func(s string) httpx.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) error {
			return httpx.WriteJSON(w, 200, s+r.PathValue("id")+r.PathValue("rest"))
		}
	}
	mux.Handle("GET /things/{id}", say("get "))
	mux.Handle("PUT /things/{id}", say("put "))
	mux.Handle("GET /things/{id}/parts/{$}", say("parts "))
	mux.Handle("GET /tree/{rest...}", say("tree "))
	mux.HandleHTTP("GET /sub/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) }))
	mux.HandleUnder("/under/", func(w http.ResponseWriter, r *http.Request) error {
		return httpx.WriteJSON(w, 200, r.Method+" "+r.RequestURI)
	})
	h := httpx.Wrap(mux, httpx.Options{Now: clock})
	tests := []struct {
		method, target string
		status         int
		body           string // a part of it
		allow          string
	}{
		{"GET", "/things/1", 200, `"get 1"`, ""},
		{"PUT", "/things/1", 200, `"put 1"`, ""},
		{"GET", "/things/a%2Fb", 200, `"get a/b"`, ""},
		{"GET", "/things/1/parts/", 200, `"parts 1"`, ""},
		{"GET", "/tree/a/b", 200, `"tree a/b"`, ""},
		{"GET", "/sub/x", 202, "", ""},
		{"DELETE", "/things/1", 405, `"error":"method_not_allowed"`, "GET, HEAD, PUT"},
		{"OPTIONS", "/things/1", 405, `"request_id"`, "GET, HEAD, PUT"},
		{"CONNECT", "/things/1", 405, `"request_id"`, "GET, HEAD, PUT"},
		{"GET", "/", 404, `"error":"not_found"`, ""},
		{"GET", "/things", 404, `"error":"not_found"`, ""},
		{"GET", "/things/1/", 404, `"error":"not_found"`, ""},
		{"GET", "/things/1/parts", 404, `"error":"not_found"`, ""},
		{"GET", "/tree", 404, `"error":"not_found"`, ""},
		{"GET", "/sub", 404, `"error":"not_found"`, ""},
		{"GET", "//things/1", 404, `"error":"not_found"`, ""},
		{"GET", "/things//1", 404, `"error":"not_found"`, ""},
		{"GET", "/x/../things/1", 404, `"error":"not_found"`, ""},
		{"GET", "/./things/1", 404, `"error":"not_found"`, ""},
		{"GET", "/x/%2e%2e/things/1", 404, `"error":"not_found"`, ""},
		{"PUT", "//things/1", 404, `"error":"not_found"`, ""},
		{"PROPFIND", "/under/", 200, `"PROPFIND /under/"`, ""},
		{"DELETE", "/under//a/../b%2Fc/%2e%2e?d=/", 200, `"DELETE /under//a/../b%2Fc/%2e%2e?d=/"`, ""},
		{"GET", "/under", 404, `"error":"not_found"`, ""},
		{"GET", "/x/../under/a", 404, `"error":"not_found"`, ""},
		{"GET", "//under/a", 404, `"error":"not_found"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.target, nil))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) || w.Header().Get("Allow") != tt.allow {
				t.Errorf("%d %q %s", w.Code, w.Header().Get("Allow"), w.Body)
			}
			if l := w.Header().Get("Location"); l != "" {
				t.Errorf("redirected to %s", l)
			}
		})
	}
	defer func() {
		if recover() == nil {
			t.Error("a pattern without a method was taken")
		}
	}()
	mux.Handle("/any", say(""))
}
