package httpx

import (
	"net/http"
	"strings"
)

// Mux is an http.ServeMux that speaks JSON: an unknown path is a 404 and a known one with another method a
// 405 with Allow, both in the form of every error. It never redirects: a path that is not in its cleaned
// form, or lacks its final slash, is simply unknown, so that what was authorized is what is served.
type Mux struct {
	mux    *http.ServeMux
	prefix string
	under  HandlerFunc
}

// NewMux returns a Mux without routes.
func NewMux() *Mux { return &Mux{mux: http.NewServeMux()} }

// route marks the handlers that are ours among those that ServeMux makes up.
type route struct{ http.Handler }

// Handle adds a route; the pattern is one of http.ServeMux and must name its method.
func (m *Mux) Handle(pattern string, f HandlerFunc) { m.HandleHTTP(pattern, Handle(f)) }

// HandleHTTP adds a route to a handler that writes its own errors.
func (m *Mux) HandleHTTP(pattern string, h http.Handler) {
	if !strings.Contains(pattern, " ") {
		panic("httpx: pattern " + pattern + " names no method")
	}
	m.mux.Handle(pattern, route{h})
}

// HandleUnder has f serve every request whose target begins with prefix as it was sent, whatever its method and
// whatever a cleaned path would be: what follows the prefix is another request's target. There is one such route.
func (m *Mux) HandleUnder(prefix string, f HandlerFunc) { m.prefix, m.under = prefix, f }

// ServeHTTP serves the route of the request.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.under != nil && strings.HasPrefix(r.RequestURI, m.prefix) {
		r.Pattern = m.prefix
		Handle(m.under).ServeHTTP(w, r)
		return
	}
	h, _ := m.mux.Handler(r)
	if _, ok := h.(route); ok {
		m.mux.ServeHTTP(w, r)
		return
	}
	answer := newBuffer("")
	h.ServeHTTP(answer, r) // ServeMux tells its reason in the answer alone
	if answer.status == http.StatusMethodNotAllowed {
		WriteError(w, r, MethodNotAllowed(strings.Split(answer.header.Get("Allow"), ", ")...))
		return
	}
	WriteError(w, r, NotFound("there is nothing at this path"))
}
