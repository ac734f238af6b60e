package httpx

import (
	"net/http"
	"strconv"
	"sync"
)

// The values of headers that answers have. Cache-Control is a default that a handler may replace; nothing here is a
// page, so the policy forbids a browser everything. All answers share the lists of values: whoever adds to one
// gets a list of his own.
var (
	noStore    = []string{"no-store"}
	noContent  = []string{"default-src 'none'; frame-ancestors 'none'"}
	noSniffing = []string{"nosniff"}
	onlyTLS    = []string{"max-age=31536000; includeSubDomains"}
)

// buffer is a ResponseWriter that keeps status and body until send. The headers are those of the writer behind
// it, which it sends with the status.
type buffer struct {
	to      http.ResponseWriter
	body    []byte
	status  int  // 0 until WriteHeader
	tls     bool // the address takes TLS
	program bool // no browser gets to see the answer
}

// countedLength is up to which length net/http counts a body that was written at once.
const countedLength = 2 << 10

// maxKept is the size of the largest body whose room is used again.
const maxKept = 16 << 10

// bodies are the rooms of bodies that have been sent.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// begin makes the headers those that every answer to r has.
func (b *buffer) begin(r *http.Request, id []string) {
	h := b.to.Header()
	h["Cache-Control"] = noStore
	h["X-Request-Id"] = id
	b.tls = r.TLS != nil || only(r.Header, "X-Forwarded-Proto") == "https"
}

// warnBrowsers adds the headers that browsers alone heed. That an address takes TLS alone is said where it does:
// over anything else it must not be (RFC 6797 §7.2).
func (b *buffer) warnBrowsers(h http.Header) {
	h["Content-Security-Policy"] = noContent
	h["X-Content-Type-Options"] = noSniffing
	if b.tls {
		h["Strict-Transport-Security"] = onlyTLS
	}
}

// Header returns the answer's headers; they may change until send.
func (b *buffer) Header() http.Header { return b.to.Header() }

// WriteHeader sets the status, once; informational ones are not passed on.
func (b *buffer) WriteHeader(status int) {
	if b.status == 0 && status >= http.StatusOK {
		b.status = status
	}
}

// Write appends to the body.
func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	b.body = append(b.body, p...)
	return len(p), nil
}

// reset drops what was written, so that an error takes its place.
func (b *buffer) reset() {
	b.status, b.program = 0, false
	b.body = b.body[:0]
}

// send writes the answer out and returns the size of its body.
func (b *buffer) send() int {
	b.WriteHeader(http.StatusOK)
	h := b.to.Header()
	if !b.program {
		b.warnBrowsers(h)
	}
	if b.status == http.StatusNoContent || b.status == http.StatusNotModified {
		h.Del("Content-Length")
		b.to.WriteHeader(b.status)
		return 0
	}
	if !b.program && (len(b.body) > 0 || h.Get("Content-Length") == "") || len(b.body) > countedLength {
		h["Content-Length"] = []string{strconv.Itoa(len(b.body))}
	}
	b.to.WriteHeader(b.status)
	n, _ := b.to.Write(b.body) // a caller that is gone cannot be told
	return n
}
