package client

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(server.URL+"/", "test")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewWantsAnAddressThatTokensMayTravelTo(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]bool{
		"https://api.isectech.com":       true,
		"https://api.isectech.com/base":  true,
		"http://127.0.0.1:8080":          true,
		"http://127.9.9.9:8080/":         true,
		"http://[::1]:8080":              true,
		"http://localhost:8080":          true,
		"http://api.isectech.com":        false,
		"http://127.0.0.1.example.com":   false,
		"http://localhost.example.com":   false,
		"http://0.0.0.0:8080":            false,
		"http://2130706433":              false,
		"http://user:pw@127.0.0.1:8080":  false,
		"https://user@api.isectech.com":  false,
		"https://api.isectech.com?x=1":   false,
		"https://api.isectech.com#x":     false,
		"ftp://127.0.0.1":                false,
		"127.0.0.1:8080":                 false,
		"//127.0.0.1:8080":               false,
		"https://":                       false,
		"":                               false,
		"https://api.isectech.com\x7f":   false,
		"https:api.isectech.com":         false,
		"https://api.isectech.com:99999": true, // refused when it is dialled
	} {
		t.Run(base, func(t *testing.T) {
			t.Parallel()
			if _, err := New(base, "test"); (err == nil) != want || err != nil && !errors.Is(err, ErrAddress) {
				t.Errorf("New: %v, want an address: %t", err, want)
			}
		})
	}
}

func TestRedirectsGetNoCredential(t *testing.T) {
	t.Parallel()
	var elsewhere []string
	away := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("Authorization"))
	}))
	t.Cleanup(away.Close)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, away.URL, http.StatusFound) })
	_, err := c.Do(t.Context(), Call{Method: http.MethodGet, Path: []string{"x"}, Token: "secret"})
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != http.StatusFound || !strings.Contains(err.Error(), "redirects are not followed") {
		t.Errorf("%v, want the redirect as an error", err)
	}
	if elsewhere != nil {
		t.Errorf("the redirect was followed, with %q", elsewhere)
	}
}

func TestRequestEscapesEachSegment(t *testing.T) {
	t.Parallel()
	var got []string
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("User-Agent"))
	})
	call := Call{Method: http.MethodGet, Path: []string{"a/../b", "c?d=e#f", "%2e", "é"}, Query: url.Values{"q": {"a b&c"}}, Token: "t"}
	if _, err := c.Do(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	want := []string{"/a%2F..%2Fb/c%3Fd=e%23f/%252e/%C3%A9?q=a+b%26c", "Bearer t", "test"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, segment := range []string{"", ".", ".."} {
		if _, err := c.Do(t.Context(), Call{Method: http.MethodGet, Path: []string{"a", segment}}); err == nil {
			t.Errorf("segment %q was sent", segment)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("x"), 1<<20)
		for range maxAnswer>>20 + 1 {
			if _, err := w.Write(chunk); err != nil {
				return // the client has seen enough
			}
		}
	})
	if _, err := c.Do(t.Context(), Call{Method: http.MethodGet, Path: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("%v, want an error of its size", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	c, err := New("http://127.0.0.1:1", "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), Call{Method: http.MethodGet, Path: []string{"secret-path"}})
	if !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("%v, want ErrUnreachable without the path", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = c.Do(ctx, Call{Method: http.MethodGet, Path: []string{"x"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func TestRefusalsOfStrangers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, want string }{
		"ours":             {`{"error":"conflict","message":"too late","generation":3,"request_id":"r"}`, "refused: conflict: too late (request id r)"},
		"oauth":            {`{"error":"invalid_scope","error_description":"none left","reason":"insufficient_scope"}`, "refused: invalid_scope: none left (reason insufficient_scope)"},
		"wrong types":      {`{"error":1,"message":[],"fields":{},"required":"x","reasons":3}`, "refused: status 409"},
		"no JSON":          {"<html>", "refused: status 409"},
		"an array":         {"[]", "refused: status 409"},
		"nothing":          {"", "refused: status 409"},
		"duplicates":       {`{"error":"a","error":"b"}`, "refused: status 409"},
		"terminal control": {`{"error":"a\u001b]0;x\u0007","message":"b\nisectl: done"}`, "refused: a\uFFFD]0;x\uFFFD: b\uFFFDisectl: done"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusConflict)
				_, _ = w.Write([]byte(test.body)) // a test server's answer
			})
			_, err := c.Do(t.Context(), Call{Method: http.MethodGet, Path: []string{"x"}})
			if err == nil || err.Error() != test.want {
				t.Errorf("%v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add([]byte(`{"error":"a","fields":[{"field":"x","message":"y"}],"reasons":[{"service_id":"a-1","reason":"r"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		text := refusal(&http.Response{StatusCode: 400, Header: http.Header{}}, body).Error()
		if strings.ContainsAny(text, "\x1b\r\x07\x00") {
			t.Errorf("control characters in %q", text)
		}
	})
}
