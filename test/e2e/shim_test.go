package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// shim stands between the Firestore emulator and a function. The emulator sends document events once and not
// quite in the form that Eventarc sends them in; the shim mends them, and delivers them until they are taken.
type shim struct {
	server *httptest.Server
	work   sync.WaitGroup
	slots  chan struct{}

	ctx context.Context // of all deliveries
	end context.CancelFunc

	mu sync.Mutex
	to map[string]string // URL of the function, by project
}

// What the shim holds in flight at once, and how long it waits between attempts.
const (
	shimParallel = 8
	shimRetry    = 100 * time.Millisecond
	shimAttempt  = 30 * time.Second
)

func newShim(t testing.TB) *shim {
	t.Helper()
	s := &shim{slots: make(chan struct{}, shimParallel), to: map[string]string{}}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.end()
		s.server.Close()
		s.work.Wait()
	})
	return s
}

// addr is what --functions_emulator wants.
func (s *shim) addr() string { return s.server.Listener.Addr().String() }

// route sends the document events of a project to a function.
func (s *shim) route(project, url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to[project] = url
}

// ServeHTTP takes an event from the emulator.
func (s *shim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	encoded, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	header := http.Header{"Content-Type": {"application/protobuf"}}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Ce-") && name != "Ce-Datacontenttype" {
			header[name] = values
		}
	}
	header.Set("Ce-Source", strings.Replace(header.Get("Ce-Source"), "projects/projects/", "projects/", 1))
	// /functions/projects/P/triggers/ID
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) < 4 {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	url := s.to[parts[3]]
	s.mu.Unlock()
	if url == "" {
		http.Error(w, fmt.Sprintf("no function of %s", parts[3]), http.StatusNotFound)
		return
	}
	s.work.Go(func() {
		deliver(s.ctx, func(ctx context.Context) bool {
			select {
			case s.slots <- struct{}{}:
				defer func() { <-s.slots }()
				return attempt(ctx, url, header, body)
			case <-ctx.Done():
				return false
			}
		})
	})
}

// relay returns where Pub/Sub's emulator may push what is for a function. It gives a message up after four pushes
// that failed, as Pub/Sub does not; a relayed one is taken from it when the function has taken it.
func relay(t testing.TB, function string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		to := function + r.URL.RequestURI()
		if !deliver(r.Context(), func(ctx context.Context) bool { return attempt(ctx, to, r.Header, body) }) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// deliver attempts until what is to be delivered is taken, or ctx ends.
func deliver(ctx context.Context, attempt func(context.Context) bool) (taken bool) {
	tick := time.NewTicker(shimRetry)
	defer tick.Stop()
	for !attempt(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func attempt(ctx context.Context, url string, header http.Header, body []byte) (taken bool) {
	ctx, cancel := context.WithTimeout(ctx, shimAttempt)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body)) //nolint:gosec // G704: a function of the test
	if err != nil {
		return false
	}
	req.Header = header.Clone()
	res, err := http.DefaultClient.Do(req) //nolint:gosec // G704: likewise
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode < 300
}
