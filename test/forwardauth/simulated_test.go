package forwardauth

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// What the simulated proxies share. Each does with a request what its documentation says, in the words of the
// example's file, so that a header that the file forgets is a header that is not set.

const authzTimeout = 500 * time.Millisecond

var transport = &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}

// simulate serves a proxy and returns its address.
func simulate(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	const headers = 60 << 10 // Envoy's bound; NGINX, and so Kong, has a smaller one
	return serve(t, h, headers).Listener.Addr().String()
}

// load reads an example as YAML, with its variables filled in.
func load(t *testing.T, name string, values map[string]string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(fill(example(t, name), values)), into); err != nil {
		t.Fatal(err)
	}
}

// outgoing makes a request with a target as it is written, which net/http would write in its own way.
func outgoing(ctx context.Context, method, address, target string, body io.Reader) *http.Request {
	path, query, asked := strings.Cut(target, "?")
	r := (&http.Request{
		Method: method, Header: http.Header{}, Host: address,
		URL: &url.URL{Scheme: "http", Host: address, Opaque: path, RawQuery: query, ForceQuery: asked && query == ""},
	}).WithContext(ctx)
	if body != nil {
		r.Body = io.NopCloser(body)
		r.ContentLength = -1
	}
	return r
}

// pass sends a request on to a service.
func pass(w http.ResponseWriter, r *http.Request, address, target string) {
	out := outgoing(r.Context(), r.Method, address, target, r.Body)
	out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
	out.Header.Del("Connection")
	if r.ContentLength == 0 {
		out.Body = nil
	}
	if answer, err := exchange(out); err != nil {
		w.WriteHeader(http.StatusBadGateway)
	} else {
		answer.relay(w)
	}
}

// reply is an answer that has been read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func exchange(r *http.Request) (*reply, error) {
	res, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return &reply{res.StatusCode, res.Header, body}, err
}

// askAuthz asks, in the time there is for it.
func askAuthz(r *http.Request) (*reply, error) {
	ctx, cancel := context.WithTimeout(r.Context(), authzTimeout)
	defer cancel()
	return exchange(r.WithContext(ctx))
}

// relay answers with somebody else's answer.
func (a *reply) relay(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) //nolint:gosec // a proxy passes on what it got
}

// clientAddress returns the address that a request came from.
func clientAddress(r *http.Request) string {
	address, _, _ := net.SplitHostPort(r.RemoteAddr)
	return address
}

// targetOf returns the path and query that a request line holds.
func targetOf(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	return r.URL.RequestURI() // the absolute form
}

// A target is sent as it is written.
func TestOutgoing(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/", "/a?b", "/a?", "/a//b/../%2f;c?d=%2F?e", "/%zz"} {
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
		_, err := exchange(outgoing(t.Context(), "GET", s.Listener.Addr().String(), target, nil))
		s.Close()
		if target == "/%zz" { // which Go's server refuses
			target = ""
		}
		if err != nil || got != target {
			t.Errorf("%q was sent as %q: %v", target, got, err)
		}
	}
}
