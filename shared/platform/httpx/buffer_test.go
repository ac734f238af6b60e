package httpx_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

// An answer for programs goes without what browsers heed, and says how long it is, whoever counts.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2048, 2049, 1 << 16} {
		body := strings.Repeat("1", size)
		h := httpx.Wrap(httpx.Handle(func(w http.ResponseWriter, _ *http.Request) error {
			httpx.AppendJSON(w, http.StatusOK, func(b []byte) []byte { return append(b, body...) })
			return nil
		}), httpx.Options{Now: time.Now})
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil || res.ContentLength != int64(size) || method == http.MethodGet && string(got) != body {
				t.Errorf("%s %d: length %d, %d read, %v", method, size, res.ContentLength, len(got), err)
			}
			if len(res.Header) != 5 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s %d: headers %v", method, size, res.Header)
			}
		}
	}
}

// What goes wrong after all is an answer like any other.
func TestErrorAfterAppendJSON(t *testing.T) {
	t.Parallel()
	w, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) error {
		httpx.AppendJSON(w, http.StatusOK, func(b []byte) []byte { return append(b, "true"...) })
		return httpx.NotFound("gone")
	}, httptest.NewRequest("GET", "/", nil))
	if w.Code != 404 || w.Header().Get("X-Content-Type-Options") != "nosniff" || strings.Contains(w.Body.String(), "true") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
