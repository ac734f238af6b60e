package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

type watched struct {
	Index   int64
	Changes []struct {
		Type    string
		Service map[string]any
	}
}

func (p *Platform) watch(t *testing.T, tok, query string) watched {
	t.Helper()
	a := p.Do(t, Request{Path: "/internal/registry/watch?" + query, Token: tok})
	a.Want(t, http.StatusOK, "", "")
	var w watched
	if err := json.Unmarshal([]byte(a.Text), &w); err != nil {
		t.Fatal(err)
	}
	if a.Header.Get("ETag") == "" || a.Header.Get("X-Registry-Index") == "" {
		t.Errorf("headers %v", a.Header)
	}
	return w
}

func TestWatch(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	p.register(t, tok, instance(t, "backend-services-001")).Want(t, http.StatusCreated, "", "")
	start := p.watch(t, tok, "index=0&wait=0s")
	if len(start.Changes) != 1 || start.Changes[0].Type != "created" || start.Changes[0].Service["service_id"] != "backend-services-001" {
		t.Fatalf("got %+v", start)
	}
	if none := p.watch(t, tok, fmt.Sprintf("index=%d&wait=10ms&name=backend", start.Index)); len(none.Changes) != 0 || none.Index < start.Index {
		t.Errorf("nothing new: %+v", none)
	}
	woken := make(chan watched)
	go func() { woken <- p.watch(t, tok, fmt.Sprintf("index=%d&wait=40s&environment=production", start.Index)) }()
	p.Do(t, Request{Method: http.MethodDelete, Path: servicesPath + "/backend-services-001", Token: tok}).Want(t, http.StatusNoContent, "", "")
	got := <-woken
	if len(got.Changes) != 1 || got.Changes[0].Type != "deleted" || got.Changes[0].Service["service_name"] != backend || got.Index <= start.Index {
		t.Errorf("got %+v", got)
	}
	p.Do(t, Request{Path: "/internal/registry/watch?index=1", Token: tok}).Want(t, http.StatusGone, "gone", "")
	for _, bad := range []string{"index=-1", "index=x", "wait=1h", "wait=soon", "environment=moon", "colour=red"} {
		p.Do(t, Request{Path: "/internal/registry/watch?" + bad, Token: tok}).Want(t, http.StatusBadRequest, "invalid_request", "")
	}
	p.Do(t, Request{Path: "/internal/registry/watch"}).Want(t, http.StatusUnauthorized, "authentication_required", "")
}
