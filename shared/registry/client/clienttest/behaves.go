package clienttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Subject is a registry that is asked what clients ask.
type Subject struct {
	HTTP    http.RoundTripper   // reaches it by any host
	Token   func() string       // of isectech-backend-services in production
	Advance func(time.Duration) // moves its clock
}

// Behaves holds a registry to what clients rely on. The service isectech-backend-services has no instances yet.
func Behaves(t *testing.T, s Subject) {
	t.Helper()
	const one = "/services/backend-services-1"
	body := `{"service_id":"backend-services-1","service_name":"backend-services","environment":"production","lease":"30s",
		"endpoints":[{"name":"api","url":"https://a.isectech.com"}]}`

	first := s.ask(t, http.MethodPost, "/register", body).want(t, http.StatusCreated)
	if first.text("status") != "healthy" || first.text("service_name") != "isectech-backend-services" || first.text("lease_expires_at") == "" {
		t.Errorf("a new instance: %s", first.body)
	}
	if again := s.ask(t, http.MethodPost, "/register", body).want(t, http.StatusOK); again.number("generation") != first.number("generation") {
		t.Errorf("the same again: %s", again.body)
	}
	s.ask(t, http.MethodPost, "/register", `{"service_id":"x"}`).refused(t)

	s.Advance(20 * time.Second)
	beat := s.ask(t, http.MethodPut, one+"/heartbeat", "").want(t, http.StatusOK)
	if beat.text("lease_expires_at") <= first.text("lease_expires_at") || beat.number("generation") != first.number("generation") {
		t.Errorf("a heartbeat: %s", beat.body)
	}
	s.ask(t, http.MethodPut, "/services/backend-services-9/heartbeat", "").want(t, http.StatusNotFound)

	s.Advance(time.Second)
	for _, ref := range []string{"backend-services", "isectech-backend-services"} {
		list := s.ask(t, http.MethodGet, "/services/"+ref+"?environment=production&limit=500", "").want(t, http.StatusOK)
		if list.text("service_name") != "isectech-backend-services" || len(list.list("services")) != 1 || list.text("next_page_token") != "" {
			t.Errorf("%s: %s", ref, list.body)
		}
		for _, header := range []string{"X-Registry-Index", "X-Registry-Age"} {
			if _, err := strconv.ParseFloat(list.header.Get(header), 64); err != nil {
				t.Errorf("%s: %v", header, err)
			}
		}
	}
	s.ask(t, http.MethodGet, "/services/nobody?environment=production&limit=500", "").want(t, http.StatusNotFound)
	if is := s.ask(t, http.MethodGet, one+"?environment=production&limit=500", "").want(t, http.StatusOK); is.text("service_id") != "backend-services-1" {
		t.Errorf("an instance: %s", is.body)
	}
	if is := s.ask(t, http.MethodGet, "/services/backend-services?environment=development&limit=500", "").want(t, http.StatusOK); len(is.list("services")) != 0 {
		t.Errorf("another environment: %s", is.body)
	}

	index := s.watch(t, 0, 1)
	index = s.watch(t, index, 0)
	s.ask(t, http.MethodPatch, one, `{"status":"stopping"}`).want(t, http.StatusOK)
	s.Advance(time.Second)
	index = s.watch(t, index, 1, "updated", "stopping")
	s.ask(t, http.MethodDelete, one, "").want(t, http.StatusNoContent)
	s.ask(t, http.MethodDelete, one, "").want(t, http.StatusNotFound)
	s.ask(t, http.MethodPatch, one, `{"status":"stopping"}`).want(t, http.StatusNotFound)
	s.Advance(time.Second)
	index = s.watch(t, index, 1, "deleted", "backend-services-1")
	s.watch(t, index, 0)
	s.ask(t, http.MethodGet, "/watch?index=1&wait=1s&name=backend-services&environment=production", "").want(t, http.StatusGone)

	// A lease that ends is told by reading, not by a change.
	s.ask(t, http.MethodPost, "/register", body).want(t, http.StatusCreated)
	s.Advance(time.Second)
	index = s.watch(t, index, 1)
	s.Advance(40 * time.Second)
	s.watch(t, index, 0)
	lapsed := s.ask(t, http.MethodGet, "/services/backend-services?environment=production&limit=500", "").want(t, http.StatusOK)
	if !strings.Contains(lapsed.body, `"lapsed":true`) {
		t.Errorf("a lapsed instance: %s", lapsed.body)
	}
	s.ask(t, http.MethodPut, one+"/heartbeat", "").want(t, http.StatusOK)
	s.Advance(time.Second)
	s.watch(t, index, 1, "updated", "healthy")
}

// watch wants so many changes after an index, with the texts in them, and returns the index to go on from.
func (s Subject) watch(t *testing.T, index int64, changes int, texts ...string) int64 {
	t.Helper()
	a := s.ask(t, http.MethodGet, fmt.Sprintf("/watch?index=%d&wait=10ms&name=isectech-backend-services&environment=production", index), "").want(t, http.StatusOK)
	next := a.number("index")
	if len(a.list("changes")) != changes || next < index {
		t.Errorf("changes after %d: %s", index, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, `"`+text+`"`) {
			t.Errorf("no %s in %s", text, a.body)
		}
	}
	return next
}

type reply struct {
	status int
	header http.Header
	body   string
	fields map[string]json.RawMessage
}

func (s Subject) ask(t *testing.T, method, path, body string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://registry.test/internal/registry"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+s.Token())
	res, err := s.HTTP.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := reply{status: res.StatusCode, header: res.Header, body: string(text)}
	_ = json.Unmarshal(text, &a.fields)
	return a
}

func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, not %d: %s", r.status, status, r.body)
	}
	return r
}

// refused wants an error of the caller's with a code.
func (r reply) refused(t *testing.T) {
	t.Helper()
	if r.status/100 != 4 || r.text("error") == "" || r.text("message") == "" {
		t.Errorf("status %d: %s", r.status, r.body)
	}
}

func (r reply) text(field string) (s string) {
	_ = json.Unmarshal(r.fields[field], &s)
	return s
}

func (r reply) number(field string) (n int64) {
	_ = json.Unmarshal(r.fields[field], &n)
	return n
}

func (r reply) list(field string) (l []json.RawMessage) {
	_ = json.Unmarshal(r.fields[field], &l)
	return l
}
