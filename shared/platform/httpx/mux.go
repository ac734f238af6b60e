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
	fixed  map[endpoint]fixed // routes without a wildcard, which need no search
	prefix string
	under  HandlerFunc
}

// NewMux returns a Mux without routes.
func NewMux() *Mux { return &Mux{mux: http.NewServeMux(), fixed: map[endpoint]fixed{}} }

// endpoint is a method and a path.
type endpoint struct{ method, path string }

// fixed is a route to one endpoint.
type fixed struct {
	pattern string
	http.Handler
}

// route is a handler of ours among those that ServeMux makes up.
type route struct{ http.Handler }

// ServeHTTP serves a request that ServeMux has found a route for.
func (h route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a, ok := w.(*attempt); ok {
		a.routed, w = true, a.to
	}
	h.Handler.ServeHTTP(w, r)
}

// attempt is what ServeMux is given to answer. It keeps what ServeMux itself says, and hands routes the writer
// behind it.
type attempt struct {
	to     http.ResponseWriter
	routed bool
	status int
	header http.Header
}

// Header returns the headers of ServeMux's own answer.
func (a *attempt) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{}
	}
	return a.header
}

// WriteHeader keeps its status.
func (a *attempt) WriteHeader(status int) { a.status = status }

// Write drops its body, which is text.
func (a *attempt) Write(p []byte) (int, error) { return len(p), nil }

// Handle adds a route; the pattern is one of http.ServeMux and must name its method.
func (m *Mux) Handle(pattern string, f HandlerFunc) { m.HandleHTTP(pattern, Handle(f)) }

// HandleHTTP adds a route to a handler that writes its own errors.
func (m *Mux) HandleHTTP(pattern string, h http.Handler) {
	if !strings.Contains(pattern, " ") {
		panic("httpx: pattern " + pattern + " names no method")
	}
	m.mux.Handle(pattern, route{h})
	if method, path, _ := strings.Cut(pattern, " "); !strings.ContainsAny(path, "{ ") && !strings.HasSuffix(path, "/") && path[0] == '/' {
		m.fixed[endpoint{method, path}] = fixed{pattern, h}
	}
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
	if f, ok := m.fixed[endpoint{r.Method, r.URL.Path}]; ok && r.URL.RawPath == "" {
		r.Pattern = f.pattern
		f.ServeHTTP(w, r)
		return
	}
	a := attempt{to: w}
	m.mux.ServeHTTP(&a, r)
	switch {
	case a.routed:
	case a.status == http.StatusMethodNotAllowed:
		WriteError(w, r, MethodNotAllowed(strings.Split(a.header.Get("Allow"), ", ")...))
	default:
		WriteError(w, r, NotFound("there is nothing at this path"))
	}
}
