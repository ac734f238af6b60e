package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// functionsHost is the host of push endpoints that are functions of this process. It has no address.
const functionsHost = "functions.internal"

// endpointOf is where messages for a function are pushed to.
func endpointOf(function string) string { return "http://" + functionsHost + "/" + function }

// functions sends requests to the functions of this process, so that nobody else can send them events, and
// all others on.
type functions struct {
	handlers sync.Map          // of paths to http.Handler; what is kept from before may be pushed before all are there
	others   http.RoundTripper // nil: there are none
}

// add makes a function one of this process.
func (f *functions) add(name string, h http.Handler) { f.handlers.Store("/"+name, h) }

// RoundTrip implements http.RoundTripper.
func (f *functions) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != functionsHost {
		if f.others == nil {
			return nil, errors.New("not a function of this process")
		}
		return f.others.RoundTrip(r)
	}
	found, _ := f.handlers.Load(r.URL.Path)
	h, ok := found.(http.Handler)
	if !ok {
		return nil, fmt.Errorf("there is no function at %s", r.URL.Path)
	}
	// What a server would make of the request.
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "127.0.0.1:0", functionsHost
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &answer{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(w, in)
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	sent   bool
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if !a.sent {
		a.status, a.sent = status, true
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.sent = true
	return a.body.Write(b)
}
