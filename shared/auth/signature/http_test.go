package signature_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/signature"
)

func vectorHeaders(t *testing.T) http.Header {
	t.Helper()
	h, err := mustKey(t, vectorKey).Headers(vector())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	h := vectorHeaders(t)
	want := http.Header{}
	for name, value := range map[string]string{
		"X-Service-Name": "isectech-api-gateway", "X-API-Key-ID": "k2", "X-API-Timestamp": "2026-01-04T12:00:00Z",
		"X-API-Nonce": "AAECAwQFBgcICQoLDA0ODw", "X-API-Key": vectorMAC, "X-Content-SHA256": vector().BodySHA256,
	} {
		want.Set(name, value)
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	r, mac, err := signature.FromHeaders(h)
	if err != nil || mac != vectorMAC {
		t.Fatalf("MAC %s, %v", mac, err)
	}
	v := vector()
	r.Method, r.Path, r.RawQuery, r.Host = v.Method, v.Path, v.RawQuery, v.Host
	if diff := cmp.Diff(v, r); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if _, err := mustKey(t, vectorKey).Headers(signature.Request{}); err == nil {
		t.Error("an empty request is signed")
	}
}

func TestFromHeadersRefuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		signature.HeaderService, signature.HeaderKeyID, signature.HeaderTimestamp, signature.HeaderNonce,
		signature.HeaderKey, signature.HeaderContentHash,
	} {
		repeated, empty, missing := vectorHeaders(t), vectorHeaders(t), vectorHeaders(t)
		repeated.Add(name, repeated.Get(name))
		empty.Set(name, "")
		missing.Del(name)
		for kind, h := range map[string]http.Header{"repeated": repeated, "empty": empty, "missing": missing} {
			_, _, err := signature.FromHeaders(h)
			if name == signature.HeaderContentHash && kind == "missing" {
				checkReason(t, err, "")
				continue
			}
			checkReason(t, err, auth.BadSignature)
			if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("%s %s: the error does not name the header: %v", kind, name, err)
			}
		}
	}
	// The legacy form is no signature.
	_, _, err := signature.FromHeaders(http.Header{"X-Api-Key": {vectorMAC}, "X-Service-Name": {"isectech-admin"}})
	checkReason(t, err, auth.BadSignature)
}

func TestPresent(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"x-api-key": true, "X-API-Key": true, "X-API-Key-ID": true, "X-API-Nonce": true, "X-API-Timestamp": true,
		"X-Service-Name": false, "X-Content-SHA256": false, "Authorization": false, "X-API": false,
	} {
		h := http.Header{}
		h.Set(name, "")
		if signature.Present(h) != want {
			t.Errorf("%s: present is %v", name, !want)
		}
	}
	if signature.Present(nil) {
		t.Error("nothing is present")
	}
}

func TestTarget(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string][2]string{
		"/":           {"/", ""},
		"/a?b=c":      {"/a", "b=c"},
		"/a?":         {"/a", ""},
		"/a?b?c":      {"/a", "b?c"},
		"//evil/a":    {"//evil/a", ""},
		"/a%2Fb/../c": {"/a%2Fb/../c", ""},
		"*":           {"*", ""},
	} {
		path, query, err := signature.Target(uri)
		if err != nil || path != want[0] || query != want[1] {
			t.Errorf("%s: %q, %q, %v", uri, path, query, err)
		}
	}
	for _, uri := range []string{"", "?", "a", "http://127.0.0.1/a", "127.0.0.1:80", "/a\n", "/a b", "/a#b", "**", "mailto:a"} {
		if path, query, err := signature.Target(uri); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("%q: %q, %q, %v", uri, path, query, err)
		}
	}
}

// What a Go client sends after SignHTTP is what a Go server sees.
func TestSignHTTPOverTheWire(t *testing.T) {
	t.Parallel()
	c := authtest.NewClient("isectech-api-gateway")
	v := authtest.Ring{c}.Verifier()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r, mac, err := signature.FromHTTP(req)
		if err == nil {
			err = v.Verify(req.Context(), r, mac)
		}
		body, readErr := io.ReadAll(req.Body)
		if err == nil {
			err = errors.Join(readErr, signature.CheckBody(r, body))
		}
		if err != nil {
			t.Logf("%s: %v", req.RequestURI, err)
			w.WriteHeader(auth.ReasonOf(err).Status())
		}
	}))
	t.Cleanup(server.Close)
	for _, target := range []string{
		"", "/", "/a/b", "/a%2Fb", "/a b", "/é", "/%c3%a9", "//evil.example/x", "/a/../b", "/a;b=1", "/*", "/a?", "/a?b",
		"/a?b=c&b=%20+%2b&&a", "/a?b=é", "/a?b=c#fragment", "/a?x=?/:@",
	} {
		for _, body := range []string{"", "hello"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+target, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if target == "/*" {
				req.Host = "API.Example:1234"
			}
			c.Sign(t, req, []byte(body))
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("%q with body %q: %s", target, body, res.Status)
			}
		}
	}
	// The body of another request.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("changed"))
	if err != nil {
		t.Fatal(err)
	}
	c.Sign(t, req, []byte("signed"))
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a changed body is answered %s", res.Status)
	}
}

func TestSignHTTPRefuses(t *testing.T) {
	t.Parallel()
	c := authtest.NewClient("isectech-api-gateway")
	opaque := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	opaque.URL.Opaque = "mailto:a"
	query := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?a=%zz", nil)
	host := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	host.Host = "münchen.example"
	method := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	method.Method = "A B"
	for name, r := range map[string]*http.Request{"opaque": opaque, "query": query, "host": host, "method": method} {
		if err := c.SignHTTP(r, nil); !errors.Is(err, auth.ErrMalformed) || signature.Present(r.Header) {
			t.Errorf("%s: %v, %v", name, err, r.Header)
		}
	}
	bare := &http.Request{URL: host.URL, Host: "127.0.0.1"}
	if err := c.SignHTTP(bare, nil); err != nil || !signature.Present(bare.Header) {
		t.Errorf("a request without method and headers: %v", err)
	}
	absolute := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/x", nil)
	c.Sign(t, absolute, nil)
	_, _, err := signature.FromHTTP(absolute) // its request line is in absolute form
	checkReason(t, err, auth.BadSignature)
}

func TestReadRequest(t *testing.T) {
	t.Parallel()
	want := vector()
	want.Service, want.KeyID, want.Timestamp, want.Nonce = "", "", "", ""
	head := "POST /internal/auth/token?a=&a=1&b=%20x%2B HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"
	lf := strings.ReplaceAll(head, "\r\n", "\n")
	chunks := "5\r\ngrant\r\n" + "29\r\n" + vectorBody[5:] + "\r\n0\r\n\r\n"
	for name, raw := range map[string]string{
		"Content-Length":        head + "Content-Length: 46\r\n\r\n" + vectorBody,
		"line ends of Unix":     lf + "Content-Length: 46\n\n" + vectorBody,
		"line end after it":     lf + "Content-Length: 46\n\n" + vectorBody + "\n",
		"line ends after it":    head + "Content-Length: 46\r\n\r\n" + vectorBody + "\r\n\r\n",
		"to the end":            head + "\r\n" + vectorBody,
		"to the end, Unix":      lf + "\n" + vectorBody,
		"chunked":               head + "Transfer-Encoding: chunked\r\n\r\n" + chunks,
		"other headers":         lf + "X-A: b: c\nAccept:\nX-API-Key: x\nCONTENT-LENGTH:46 \n\n" + vectorBody,
		"HTTP/1.0":              strings.Replace(head, "1.1", "1.0", 1) + "\r\n" + vectorBody,
		"a long header":         head + "X-A: " + strings.Repeat("a", 9000) + "\r\n\r\n" + vectorBody,
		"Content-Length, zeros": head + "Content-Length: 0046\r\n\r\n" + vectorBody,
	} {
		for kind, src := range map[string]io.Reader{
			"at once": strings.NewReader(raw), "a byte at a time": iotest.OneByteReader(strings.NewReader(raw)),
		} {
			got, err := signature.ReadRequest(src)
			if err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, kind, diff)
			}
		}
	}
	for name, raw := range map[string]string{
		"no empty line":        "GET / HTTP/1.1\nHost: a\n",
		"no line end at all":   "GET / HTTP/1.1\nHost: a",
		"empty body":           "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"Content-Length: 0":    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"no chunk but the end": "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
	} {
		got, err := signature.ReadRequest(strings.NewReader(raw))
		if err != nil || got.Path != "/" || got.Host != "a" || got.BodySHA256 != signature.BodyDigest(nil) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestReadRequestRefuses(t *testing.T) {
	t.Parallel()
	const host = "Host: a\r\n"
	for name, raw := range map[string]string{
		"empty":                        "",
		"an empty line":                "\r\n",
		"no version":                   "GET /\r\n" + host + "\r\n",
		"HTTP/2":                       "GET / HTTP/2\r\n" + host + "\r\n",
		"two spaces":                   "GET  / HTTP/1.1\r\n" + host + "\r\n",
		"space in the target":          "GET /a b HTTP/1.1\r\n" + host + "\r\n",
		"absolute form":                "GET http://a/ HTTP/1.1\r\n" + host + "\r\n",
		"authority form":               "CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n",
		"bad escape in the query":      "GET /?a=%zz HTTP/1.1\r\n" + host + "\r\n",
		"control in the target":        "GET /\x01 HTTP/1.1\r\n" + host + "\r\n",
		"bare CR in the line":          "GET /\rX HTTP/1.1\r\n" + host + "\r\n",
		"no Host":                      "GET / HTTP/1.1\r\n\r\n",
		"empty Host":                   "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"two Hosts":                    "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
		"Host with a path":             "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"space before the colon":       "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"folded line":                  "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
		"no colon":                     "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
		"no name":                      "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
		"control in a value":           "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
		"bare CR in a value":           "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
		"two lengths":                  "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"negative length":              "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
		"length with sign":             "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
		"length beyond int64":          "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
		"length above the bound":       "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108865\r\n\r\n",
		"length and chunks":            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
		"gzip":                         "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\na",
		"chunked twice":                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"broken chunks":                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"chunks cut off":               "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"short body":                   "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcd",
		"a second request":             "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\naGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"many line ends":               "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na" + strings.Repeat("\n", 16) + "x",
		"something after the chunks":   "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
		"a head above the bound":       "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: a\r\n", 20000) + "\r\n",
		"a line above the bound":       "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1<<17),
		"a request line and no end":    "GET /" + strings.Repeat("a", 1<<17),
		"a body above the bound":       "GET / HTTP/1.1\r\nHost: a\r\n\r\n" + strings.Repeat("a", 64<<20+1),
		"a binary file":                "\x7fELF\x02\x01\x01\x00",
		"method of letters beyond A-z": "GÉT / HTTP/1.1\r\n" + host + "\r\n",
	} {
		if r, err := signature.ReadRequest(strings.NewReader(raw)); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for _, raw := range []string{"", "GET / HT", "GET / HTTP/1.1\nHost: a\nContent-Length: 9\n\na", "GET / HTTP/1.1\nHost: a\n\na", "GET / HTTP/1.1\nHost: a\nContent-Length: 1\n\na"} {
		src := io.MultiReader(strings.NewReader(raw), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := signature.ReadRequest(src); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%q and a broken pipe: %v", raw, err)
		}
	}
}

// What is read can be signed, and does not depend on how it came.
func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("POST /a?b=c HTTP/1.1\r\nHost: a:1\r\nContent-Length: 2\r\n\r\nhi"))
	f.Add([]byte("GET / HTTP/1.1\nHost: a\n"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"))
	f.Add([]byte("OPTIONS * HTTP/1.0\nHost: [::1]\n\nbody"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := signature.ReadRequest(bytes.NewReader(data))
		again, errAgain := signature.ReadRequest(iotest.OneByteReader(bytes.NewReader(data)))
		if r != again || (err == nil) != (errAgain == nil) {
			t.Fatalf("%q: %+v, %v, then %+v, %v", data, r, err, again, errAgain)
		}
		if err != nil {
			return
		}
		r.Service, r.KeyID, r.Timestamp, r.Nonce = "a", "k1", "2026-01-04T12:00:00Z", "AAECAwQFBgcICQoLDA0ODw"
		message, err := r.StringToSign()
		if err != nil || strings.Count(message, "\n") != 9 {
			t.Errorf("%q reads as %+v and signs as %q, %v", data, r, message, err)
		}
	})
}
