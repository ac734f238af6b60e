package jwks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/jwks"
	"github.com/isectech/service-networking/shared/auth/token"
)

// issuer is a server of a key set.
type issuer struct {
	*httptest.Server

	mu      sync.Mutex
	now     time.Time
	fetches int
	answer  http.HandlerFunc
}

func newIssuer(t *testing.T, answer http.HandlerFunc) *issuer {
	t.Helper()
	i := &issuer{now: authtest.Now, answer: answer}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.fetches++
		answer := i.answer
		i.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) source(t *testing.T, timeout time.Duration) *jwks.Source {
	t.Helper()
	// A connection for each fetch, since one that breaks is tried again without the source's doing.
	s, err := jwks.New(i.URL, jwks.Options{Now: i.Now, Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (i *issuer) Now() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

func (i *issuer) advance(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.now = i.now.Add(d)
}

func (i *issuer) say(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *issuer) wantFetches(t *testing.T, want int) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fetches != want {
		t.Errorf("%d fetches, want %d", i.fetches, want)
	}
}

// publish answers with the keys of authorities, to be kept for maxAge seconds.
func publish(t *testing.T, maxAge int, of ...*authtest.Authority) http.HandlerFunc {
	t.Helper()
	body, err := json.Marshal(of[0].Keys(t, of[1:]...))
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(maxAge)+", must-revalidate")
		_, _ = w.Write(body)
	}
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func kid(a *authtest.Authority) string { return a.Signer.Public().ID }

func want(t *testing.T, s *jwks.Source, kid string, err error) {
	t.Helper()
	k, got := s.Key(t.Context(), kid)
	if !errors.Is(got, err) || (err == nil) != (k.ID == kid) {
		t.Errorf("%.20s: %v, want %v", kid, got, err)
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.RS256)
	for _, tc := range []struct {
		name, control, age string
		fresh              time.Duration
	}{
		{"as Google says it", "public, max-age=19800, must-revalidate, no-transform", "", 5*time.Hour + 30*time.Minute},
		{"partly used up by a cache", "public, max-age=600", "500", 100 * time.Second},
		{"used up by a cache", "max-age=600", "6000", time.Minute},
		{"nothing said", "", "", time.Minute},
		{"too short", "max-age=1", "", time.Minute},
		{"too long", "max-age=2000000000", "", 24 * time.Hour},
		{"beyond numbers", "max-age=99999999999999999999", "", time.Minute},
		{"negative", "max-age=-1", "", time.Minute},
		{"not to be kept", "max-age=600, No-Store", "", time.Minute},
		{"in capitals, quoted", `Max-Age="600"`, "", 10 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			good := publish(t, 0, a)
			i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Age", tc.age)
				good(headerFixed{w, tc.control}, r)
			})
			s := i.source(t, 0)
			want(t, s, kid(a), nil)
			i.advance(tc.fresh - time.Second)
			want(t, s, kid(a), nil)
			i.wantFetches(t, 1)
			i.advance(time.Second)
			want(t, s, kid(a), nil)
			i.wantFetches(t, 2)
		})
	}
}

// headerFixed overrules Cache-Control.
type headerFixed struct {
	http.ResponseWriter

	control string
}

func (h headerFixed) Write(b []byte) (int, error) {
	h.Header().Set("Cache-Control", h.control)
	return h.ResponseWriter.Write(b)
}

// A new key of the issuer's is found by the first token that names it, a key that is gone is refused.
func TestRotation(t *testing.T) {
	t.Parallel()
	old, young := authtest.NewAuthority(t, token.RS256), authtest.NewAuthority(t, token.RS256)
	i := newIssuer(t, publish(t, 3600, old))
	s := i.source(t, 0)
	want(t, s, kid(old), nil)
	i.say(publish(t, 3600, old, young))
	want(t, s, kid(young), token.ErrUnknownKey) // within the window
	i.wantFetches(t, 1)
	i.advance(jwks.Window)
	want(t, s, kid(young), nil)
	want(t, s, kid(old), nil)
	i.wantFetches(t, 2)
	i.say(publish(t, 3600, young))
	i.advance(time.Hour)
	want(t, s, kid(young), nil)
	want(t, s, kid(old), token.ErrUnknownKey)
	i.wantFetches(t, 3)
}

// Where the issuer is out of reach, or answers with something else, its keys outlive it, for a time; what
// is not known is an error then and no refusal.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	a, b := authtest.NewAuthority(t, token.RS256), authtest.NewAuthority(t, token.ES256)
	private := `{"keys":[` + authtest.With(t, jwkOf(t, a), "d", `"AA"`) + `]}`
	for name, answer := range map[string]http.HandlerFunc{
		"down":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"error":          text(http.StatusInternalServerError, "{}"),
		"not found":      text(http.StatusNotFound, "{}"),
		"no content":     text(http.StatusNoContent, ""),
		"redirect":       http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP,
		"redirect away":  http.RedirectHandler("https://example.com/", http.StatusMovedPermanently).ServeHTTP,
		"garbage":        text(http.StatusOK, "<html>"),
		"nothing":        text(http.StatusOK, ""),
		"no keys":        text(http.StatusOK, `{"keys":[]}`),
		"keys of others": text(http.StatusOK, `{"keys":[{"kty":"oct","kid":"x","alg":"HS256","k":"AAAA"}]}`),
		"a private key":  text(http.StatusOK, private),
		"huge":           text(http.StatusOK, `{"keys":[]}`+strings.Repeat(" ", 256<<10)),
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"keys":`))
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for line := []byte(strings.Repeat(" ", 64<<10)); ; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, answer)
			s := i.source(t, 0)
			want(t, s, kid(a), jwks.ErrUnavailable)
			want(t, s, kid(a), jwks.ErrUnavailable) // without another look
			i.wantFetches(t, 1)
			i.say(publish(t, 600, a))
			i.advance(5 * time.Second)
			want(t, s, kid(a), nil)
			i.say(answer)
			i.advance(10 * time.Minute)
			want(t, s, kid(a), nil)
			want(t, s, kid(b), jwks.ErrUnavailable)
			i.wantFetches(t, 3)
			i.advance(6*time.Hour - time.Second)
			want(t, s, kid(a), nil)
			i.advance(time.Second)
			want(t, s, kid(a), jwks.ErrUnavailable)
			i.say(publish(t, 600, a))
			i.advance(5 * time.Second)
			want(t, s, kid(a), nil)
			want(t, s, kid(b), token.ErrUnknownKey)
		})
	}
}

func jwkOf(t *testing.T, a *authtest.Authority) string {
	t.Helper()
	out, err := json.Marshal(a.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// An issuer that does not answer in time costs whoever asked a bounded time, and others none.
func TestSlow(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	good := publish(t, 60, a)
	i := newIssuer(t, good)
	s := i.source(t, time.Minute)
	want(t, s, kid(a), nil)

	arrived, release := make(chan struct{}), make(chan struct{})
	i.say(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		good(w, r)
	})
	i.advance(time.Minute)
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := s.Key(impatient, kid(a))
		left <- err
	}()
	<-arrived
	want(t, s, kid(a), nil) // somebody is looking: what is known will do
	leave()
	if err := <-left; err != nil {
		t.Errorf("whoever leaves with a key known: %v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Key(gone, "unknown"); !errors.Is(err, jwks.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("whoever cannot wait: %v", err)
	}
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := s.Key(t.Context(), "unknown")
			done <- err
		}()
	}
	close(release)
	for range cap(done) {
		if err := <-done; !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("whoever waited: %v", err)
		}
	}
	i.wantFetches(t, 2)
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"keys":[`)) // and then nothing
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	want(t, i.source(t, 50*time.Millisecond), "k", jwks.ErrUnavailable)
}

// Any number of made-up kids within ten minutes (a million where LONG is set) cost an issuer one look a window,
// and no memory.
func TestHostileKids(t *testing.T) {
	t.Parallel()
	const callers, minutes = 4, 10
	kids := 100_000
	if os.Getenv("LONG") != "" {
		kids = 1_000_000
	}
	a := authtest.NewAuthority(t, token.ES256)
	i := newIssuer(t, publish(t, 86400, a))
	s := i.source(t, 0)
	want(t, s, kid(a), nil)
	before := heap()
	for minute := range minutes {
		var group sync.WaitGroup
		for c := range callers {
			group.Go(func() {
				for n := range kids / minutes / callers {
					if _, err := s.Key(t.Context(), fmt.Sprintf("%d-%d-%d", minute, c, n)); !errors.Is(err, token.ErrUnknownKey) {
						t.Errorf("got %v", err)
						return
					}
				}
			})
		}
		group.Wait()
		i.advance(time.Minute)
	}
	i.wantFetches(t, minutes) // the first minute's window was the first key's
	grown := int64(heap()) - int64(before)
	if t.Logf("after %d kids the heap is %d bytes larger", kids, grown); grown > 4<<20 {
		t.Error("that is too much")
	}
	want(t, s, kid(a), nil)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestURL(t *testing.T) {
	t.Parallel()
	for raw, good := range map[string]bool{
		"https://www.googleapis.com/oauth2/v3/certs": true,
		"http://127.0.0.1:8080/keys":                 true,
		"http://[::1]/keys":                          true,
		"http://localhost:1/keys":                    true,
		"http://www.googleapis.com/oauth2/v3/certs":  false,
		"http://127.0.0.1.example.com/":              false,
		"http://localhost.example.com/":              false,
		"https://user:secret@example.com/":           false,
		"https://":                                   false,
		"ftp://example.com/":                         false,
		"file:///etc/passwd":                         false,
		"/keys":                                      false,
		"":                                           false,
		"https://example.com/#x":                     false,
		"://":                                        false,
	} {
		_, err := jwks.New(raw, jwks.Options{Now: authtest.Clock})
		if (err == nil) != good {
			t.Errorf("%s: %v", raw, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats the URL: %v", err)
		}
	}
}
