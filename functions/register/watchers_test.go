package register

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// maxRSS is what a deployed instance may take with as many watchers as Cloud Run lets it have; here their clients
// and the store are in it too.
const maxRSS = 128 << 20

// longPoll is a watcher: a connection on which a request has been sent.
type longPoll struct{ net.Conn }

func (f *overFaulty) longPoll(t *testing.T, addr, token, query string) longPoll {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /internal/registry/watch?%s HTTP/1.1\r\nHost: register\r\nAuthorization: Bearer %s\r\n\r\n", query, token); err != nil {
		t.Fatal(err)
	}
	return longPoll{conn}
}

// answer reads the answer.
func (p longPoll) answer(t *testing.T) string {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s %v", res.StatusCode, body, err)
	}
	_ = res.Body.Close()
	return string(body)
}

// A thousand long polls, Cloud Run's most, wait on one instance in little memory; only those whom a change
// concerns are woken; and the store is read for all of them at once. LONG=1 has them wait longer.
func TestAThousandWatchers(t *testing.T) { // not parallel: it looks at the process's memory
	const watchers = 1000
	f := newOverFaulty(t)
	server := httptest.NewServer(f.handler)
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	if w := f.call(t, http.MethodPost, "/internal/registry/register", aRegistration); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	index := f.call(t, http.MethodGet, "/internal/registry/services", "").Header().Get("X-Registry-Index")
	token := f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover)
	var ofA []longPoll
	for range watchers - 1 {
		ofA = append(ofA, f.longPoll(t, addr, token, "name=backend&environment=production&wait=50s&index="+index))
	}
	ofB := f.longPoll(t, addr, token, "name=frontend&environment=production&wait=50s&index="+index)
	f.eventually(t, "all wait", func() bool { return f.watching(t).Watchers == watchers })

	reads, rounds := f.reads(), 3
	if os.Getenv("LONG") != "" {
		rounds = 30
	}
	for range rounds { // each time the snapshot is too old
		had := f.store.Calls(storetest.CallChanges)
		f.Clock.Advance(time.Second)
		f.eventually(t, "the store is read", func() bool { return f.store.Calls(storetest.CallChanges) >= had+2 })
	}
	if got := f.reads() - reads; got > 10*rounds { // records, leases, policy, keys, revocations, quarantines
		t.Errorf("%d rounds of a quiet registry took %d readings of the store", rounds, got)
	}
	rss := resident(t)
	t.Logf("%d watchers, their clients and the store: %d MiB resident", watchers, rss>>20)
	if rss > maxRSS && !raceDetector() {
		t.Errorf("%d MiB resident with %d watchers", rss>>20, watchers)
	}

	body := strings.NewReplacer("backend-services-1", "frontend-1", `"backend"`, `"isectech-frontend"`).Replace(aRegistration)
	frontend := "Bearer " + f.Token(t, "isectech-frontend", auth.PlatformAudience, auth.ServiceDiscover)
	if w := f.call(t, http.MethodPost, "/internal/registry/register", body, "Authorization", frontend); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := ofB.answer(t); !strings.Contains(got, `"frontend-1"`) {
		t.Errorf("told %s", got)
	}
	if got := f.watching(t); got != (registry.Watching{Watchers: watchers - 1, Wakeups: 1}) {
		t.Errorf("after a change that one waits for: %+v", got)
	}
	if w := f.call(t, http.MethodPatch, "/internal/registry/services/backend-services-1", `{"tags":["blue"]}`); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, watcher := range ofA {
		if got := watcher.answer(t); !strings.Contains(got, `"type":"updated"`) || !strings.Contains(got, `"blue"`) {
			t.Fatalf("told %s", got)
		}
	}
	f.eventually(t, "none waits", func() bool { return f.watching(t) == registry.Watching{Wakeups: watchers} })
}

// reads counts the readings of the store.
func (f *overFaulty) reads() int {
	return f.store.Calls(storetest.CallChanges) + f.store.Calls(storetest.CallGet) + f.store.Calls(storetest.CallGetAll) + f.store.Calls(storetest.CallQuery)
}

func (f *overFaulty) watching(t *testing.T) registry.Watching {
	t.Helper()
	var body struct{ Watching registry.Watching }
	w := f.call(t, http.MethodGet, "/internal/registry/health", "")
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	return body.Watching
}

func (f *overFaulty) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not in a minute: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+([0-9]+) kB`)

// resident returns the process's resident memory in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory() // what building the platform took
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skipf("resident memory is read off /proc: %v", err)
	}
	m := vmRSS.FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmRSS in %s", status)
	}
	kB, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// A watch's entity tag is that of its service in its environment: whoever has it is told 304 where nothing came.
func TestWatchTag(t *testing.T) {
	t.Parallel()
	f := newOverFaulty(t)
	const watch = "/internal/registry/watch?name=backend&environment=production&wait=10ms&index="
	if w := f.call(t, http.MethodPost, "/internal/registry/register", aRegistration); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	first := f.call(t, http.MethodGet, watch+"0", "")
	index, tag := first.Header().Get("X-Registry-Index"), first.Header().Get("ETag")
	for name, tt := range map[string]struct {
		query, tag string
		want       int
	}{
		"nothing new, and the caller knows":       {watch + index, tag, http.StatusNotModified},
		"of several":                              {watch + index, `"x", W/` + tag, http.StatusNotModified},
		"nothing new, and the caller has another": {watch + index, `"x"`, http.StatusOK},
		"nothing new, and the caller has none":    {watch + index, "", http.StatusOK},
		"everything is asked for":                 {watch + "0", tag, http.StatusOK},
		"another environment":                     {strings.Replace(watch, "production", "staging", 1) + index, tag, http.StatusOK},
		"another service":                         {strings.Replace(watch, "backend", "frontend", 1) + index, tag, http.StatusOK},
		"no tag":                                  {watch + index, `no tag`, http.StatusBadRequest},
	} {
		var header []string
		if tt.tag != "" {
			header = []string{"If-None-Match", tt.tag}
		}
		w := f.call(t, http.MethodGet, tt.query, "", header...)
		if w.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, tt.want)
		}
		if tt.want != http.StatusBadRequest && w.Header().Get("X-Registry-Index") != index {
			t.Errorf("%s: index %q, want %q", name, w.Header().Get("X-Registry-Index"), index)
		}
	}
	other := strings.Replace(aRegistration, "backend-services-1", "backend-services-2", 1)
	if w := f.call(t, http.MethodPost, "/internal/registry/register", other); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := f.call(t, http.MethodGet, watch+index, "", "If-None-Match", tag); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
		t.Errorf("after a change: %d %s", w.Code, w.Header().Get("ETag"))
	}
}

// Names that there are not, asked for again and again by whoever may ask, cost the store nothing and are not
// remembered.
func TestUnknownNamesCostNothing(t *testing.T) { // not parallel: it looks at the heap
	f := newOverFaulty(t)
	if w := f.call(t, http.MethodPost, "/internal/registry/register", aRegistration); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	f.call(t, http.MethodGet, "/internal/registry/services", "")
	token := "Bearer " + f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover)
	asked := 0
	ask := func(n int) {
		for range n {
			asked++
			name := fmt.Sprintf("no-such-%d", asked)
			for path, want := range map[string]int{
				"services/" + name:                                      http.StatusNotFound,
				"services/" + name + "/endpoints/api":                   http.StatusNotFound,
				"services/backend/endpoints/" + name:                    http.StatusNotFound,
				"services?name=" + name:                                 http.StatusOK,
				"watch?wait=1ns&index=9000000000000000000&name=" + name: http.StatusOK,
			} {
				r := httptest.NewRequest(http.MethodGet, "/internal/registry/"+path, http.NoBody)
				r.Header.Set("Authorization", token)
				w := httptest.NewRecorder()
				if f.handler.ServeHTTP(w, r); w.Code != want {
					t.Fatalf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		}
	}
	ask(200)
	reads, before := f.reads(), heap()
	logged := len(f.Logs.String())
	const n = 1000
	ask(n)
	if got := f.reads() - reads; got != 0 {
		t.Errorf("%d names took %d readings of the store", n, got)
	}
	grown := heap() - before - 2*int64(len(f.Logs.String())-logged) // which a real logger does not keep
	if grown > 256<<10 {
		t.Errorf("after %d names the heap is %d bytes larger", n, grown)
	}
}

func heap() int64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
