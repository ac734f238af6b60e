package httpx

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
)

// securityHeaders stand on every answer. Cache-Control is a default that a handler may replace; nothing
// here is a page, so the policy forbids a browser everything.
var securityHeaders = map[string]string{
	"Cache-Control":             "no-store",
	"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'",
	"Referrer-Policy":           "no-referrer",
	"Strict-Transport-Security": "max-age=31536000; includeSubDomains",
	"X-Content-Type-Options":    "nosniff",
}

// buffer is a ResponseWriter that keeps the answer until send.
type buffer struct {
	header http.Header
	body   bytes.Buffer
	status int // 0 until WriteHeader
}

func newBuffer(requestID string) *buffer {
	b := &buffer{header: make(http.Header, len(securityHeaders)+4)}
	for name, value := range securityHeaders {
		b.header[name] = []string{value}
	}
	b.header["X-Request-Id"] = []string{requestID}
	return b
}

// Header returns the answer's headers; unlike those of net/http they may change until send.
func (b *buffer) Header() http.Header { return b.header }

// WriteHeader sets the status, once; informational ones are not passed on.
func (b *buffer) WriteHeader(status int) {
	if b.status == 0 && status >= http.StatusOK {
		b.status = status
	}
}

// Write appends to the body.
func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

// reset drops what was written, so that an error takes its place.
func (b *buffer) reset() {
	b.status = 0
	b.body.Reset()
}

// send writes the answer out and returns the size of its body.
func (b *buffer) send(w http.ResponseWriter) int {
	b.WriteHeader(http.StatusOK)
	h := w.Header()
	maps.Copy(h, b.header)
	if b.status == http.StatusNoContent || b.status == http.StatusNotModified {
		h.Del("Content-Length")
		w.WriteHeader(b.status)
		return 0
	}
	if b.body.Len() > 0 || h.Get("Content-Length") == "" {
		h.Set("Content-Length", strconv.Itoa(b.body.Len()))
	}
	w.WriteHeader(b.status)
	n, _ := w.Write(b.body.Bytes()) // a caller that is gone cannot be told
	return n
}
