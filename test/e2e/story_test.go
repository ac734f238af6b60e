package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/test/contract"
	"github.com/isectech/service-networking/test/devtest"
)

// teller tells the story on one platform, step by step.
type teller struct {
	*client
	publisher *events.PubSub
	changes   *heard
	security  *heard
	examples  string
	token     string            // of the gateway for the backend
	told      map[string]string // what the changes must be: types by the events' ids
}

// tellStory runs the numbered steps; each rests on those before it.
func tellStory(t *testing.T, p Platform) {
	s := &teller{
		client: newClient(t, p), publisher: publisher(t, p), told: map[string]string{},
		changes: listen(t, p, events.TopicRegistryChanges), security: listen(t, p, events.TopicSecurityEvents),
		examples: filepath.Join(devtest.Root(t), "examples"),
	}
	for i, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the gateway gets a token for the backend", s.getToken},
		{"the gateway is let through", s.allowed},
		{"the frontend is not", s.untrustedEdge},
		{"nor is it given a token", s.invalidTarget},
		{"the backend registers", s.registerExample},
		{"it is found by id, by name and by alias", s.found},
		{"while it starts it has no endpoint", s.starting},
		{"a second instance, without a health check, has one", s.second},
		{"every instance of the registry knows within a second", s.propagation},
		{"a watcher is told", s.watch},
		{"an instance registers by event", s.commands},
		{"a command without a credential is reported", s.refusedCommand},
		{"subscribers hear of each change", s.heardChanges},
		{"killed and started again, it has lost nothing", s.restart},
		{"the journal has no fault", func(t *testing.T) { p.Verify(t) }},
	} {
		if !t.Run(fmt.Sprintf("%02d %s", i+1, step.name), step.run) {
			t.Fatalf("the story ends at step %d", i+1)
		}
	}
}

func (s *teller) getToken(t *testing.T) {
	a := s.do(t, s.Authz(), s.ask(gateway, "audience", backend, "scope", "api:read"))
	a.Want(t, http.StatusOK, "", "")
	if s.token = a.String("access_token"); s.token == "" || a.String("scope") != "api:read" || a.String("token_type") != "Bearer" {
		t.Errorf("got %s", a.Text)
	}
}

func (s *teller) allowed(t *testing.T) {
	a := s.do(t, s.Authz(), contract.Request{Path: validatePath, Token: s.token, Header: http.Header{"X-Target-Service": {backend}}})
	a.Want(t, http.StatusOK, "", "allowed")
	if a.String("decision") != "allow" || a.String("service_name") != gateway || a.Header.Get("X-Auth-Service-Name") != gateway {
		t.Errorf("got %s", a.Text)
	}
}

func (s *teller) untrustedEdge(t *testing.T) {
	a := s.do(t, s.Authz(), contract.Request{
		Path: validatePath, Token: s.mustToken(t, frontend), Header: http.Header{"X-Target-Service": {backend}},
	})
	a.Want(t, http.StatusForbidden, "", "untrusted_edge")
}

func (s *teller) invalidTarget(t *testing.T) {
	s.do(t, s.Authz(), s.ask(frontend, "audience", backend)).Want(t, http.StatusBadRequest, "invalid_target", "untrusted_edge")
}

// first is the instance of examples.
const first = "backend-services-001"

func (s *teller) registerExample(t *testing.T) {
	body, err := os.ReadFile(filepath.Join(s.examples, first+".json"))
	check(t, err)
	a := s.mustRegister(t, s.Registers()[0], string(body))
	if a.String("status") != "starting" || a.Body["generation"] != 1.0 {
		t.Errorf("got %s", a.Text)
	}
	s.told[first+"@1"] = events.TypeServiceCreated
}

func (s *teller) found(t *testing.T) {
	for _, ref := range []string{first, backend, "backend-services", "backend"} {
		a := s.read(t, s.Registers()[0], servicesPath+"/"+ref)
		a.Want(t, http.StatusOK, "", "")
		if !strings.Contains(a.Text, `"service_id":"`+first+`"`) {
			t.Errorf("%s: %s", ref, a.Text)
		}
	}
}

func (s *teller) starting(t *testing.T) {
	a := s.read(t, s.Registers()[0], servicesPath+"/backend-services/endpoints/api")
	a.Want(t, http.StatusNotFound, "not_found", "")
	if !strings.Contains(a.Text, `"reason":"starting"`) {
		t.Errorf("no reason: %s", a.Text)
	}
}

func (s *teller) second(t *testing.T) {
	s.mustRegister(t, s.Registers()[0], instance("backend-services-002", "2.0.0"))
	s.told["backend-services-002@1"] = events.TypeServiceCreated
	a := s.read(t, s.Registers()[0], servicesPath+"/backend-services/endpoints/api")
	a.Want(t, http.StatusOK, "", "")
	if a.String("service_id") != "backend-services-002" || a.String("url") != "https://api.isectech.com" || a.Body["port"] != 443.0 {
		t.Errorf("got %s", a.Text)
	}
}

// propagation measures how long it takes until what one instance was told is known at another. The contract's
// second is what an idle machine needs; here it is a multiple, since nobody knows what else the machine does.
func (s *teller) propagation(t *testing.T) {
	const rounds, bound = 3, 20 * time.Second
	urls := s.Registers()
	for round := range rounds {
		id := fmt.Sprintf("backend-services-p%d", round)
		s.mustRegister(t, urls[0], instance(id, "1.0.0"))
		s.told[id+"@1"] = events.TypeServiceCreated
		start := time.Now()
		for _, url := range urls {
			s.appears(t, url, id)
		}
		took := time.Since(start)
		t.Logf("known to all %d after %s", len(urls), took.Round(time.Millisecond))
		if took > bound {
			t.Errorf("known to all %d only after %s", len(urls), took)
		}
	}
}

// appears waits until an instance of the registry knows an id.
func (s *teller) appears(t *testing.T, url, id string) {
	t.Helper()
	eventually(t, id+" at "+url, func(ctx context.Context) error {
		a, err := s.get(ctx, url, servicesPath+"/"+id)
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("%d %s", a.Status, a.Text)
		}
		return err
	})
}

func (s *teller) watch(t *testing.T) {
	urls := s.Registers()
	last := urls[len(urls)-1]
	index := s.read(t, last, watchPath+"?index=0&wait=0s").Header.Get("X-Registry-Index")
	type answer struct {
		contract.Answer
		err error
	}
	woken := make(chan answer, 1)
	go func() {
		a, err := s.get(t.Context(), last, watchPath+"?name=backend&wait=40s&index="+index)
		woken <- answer{a, err}
	}()
	s.mustRegister(t, urls[0], instance("backend-services-w", "1.0.0"))
	s.told["backend-services-w@1"] = events.TypeServiceCreated
	a := <-woken
	check(t, a.err)
	a.Want(t, http.StatusOK, "", "")
	if !strings.Contains(a.Text, `"service_id":"backend-services-w"`) {
		t.Errorf("got %s", a.Text)
	}
}

// command returns a command of the backend's.
func (s *teller) command(t *testing.T, kind, id, data string) events.Event {
	t.Helper()
	return events.Event{
		ID: id, Source: "//isectech.com/services/backend-services", Type: kind, Time: time.Now(),
		Data: []byte(data), ContentType: "application/json", Auth: s.mustToken(t, backend),
	}
}

func (s *teller) commands(t *testing.T) {
	const id = "backend-services-e"
	publish := func(e events.Event) {
		t.Helper()
		check(t, s.publisher.Publish(t.Context(), events.TopicRegistryCommands, e))
	}
	register := s.command(t, events.TypeRegister, "story-register", instance(id, "1.0.0"))
	publish(register)
	for _, url := range s.Registers() {
		s.appears(t, url, id)
	}
	publish(register) // once more has no effect
	publish(s.command(t, events.TypeHeartbeat, "story-heartbeat", named(id)))
	publish(s.command(t, events.TypeUnregister, "story-unregister", named(id)))
	s.told[id+"@1"], s.told[id+"@2"] = events.TypeServiceCreated, events.TypeServiceDeleted
	for _, url := range s.Registers() {
		eventually(t, id+" is gone from "+url, func(ctx context.Context) error {
			a, err := s.get(ctx, url, servicesPath+"/"+id)
			if err == nil && a.Status != http.StatusNotFound {
				err = fmt.Errorf("%d %s", a.Status, a.Text)
			}
			return err
		})
	}
}

func (s *teller) refusedCommand(t *testing.T) {
	const id = "backend-services-x"
	e := s.command(t, events.TypeRegister, "story-refused", instance(id, "1.0.0"))
	e.Auth = ""
	check(t, s.publisher.Publish(t.Context(), events.TopicRegistryCommands, e))
	eventually(t, "the incident is published", func(context.Context) error {
		s.security.mu.Lock()
		defer s.security.mu.Unlock()
		for _, incident := range s.security.events {
			if incident.kind == "com.isectech.security.auth_failed.v1" && strings.Contains(incident.data, "story-refused") {
				return nil
			}
		}
		return fmt.Errorf("heard %v", s.security.events)
	})
	s.read(t, s.Registers()[0], servicesPath+"/"+id).Want(t, http.StatusNotFound, "not_found", "")
}

func (s *teller) heardChanges(t *testing.T) {
	about := func(subject string) bool { return strings.HasPrefix(subject, "backend-services-") }
	eventually(t, "the changes are heard of", func(context.Context) error {
		got, err := s.changes.ids(about)
		if err == nil && len(got) < len(s.told) {
			err = errors.New(cmp.Diff(s.told, got))
		}
		return err
	})
	got, err := s.changes.ids(about)
	check(t, err)
	if diff := cmp.Diff(s.told, got); diff != "" {
		t.Errorf("changes heard of (-want +got):\n%s", diff)
	}
	t.Logf("%d changes, %d of them delivered more than once", len(got), s.changes.repeated)
}

func (s *teller) restart(t *testing.T) {
	want := map[string]bool{}
	before, err := s.list(t.Context(), s.Registers()[0], "backend-services-", 500)
	check(t, err)
	for _, id := range before {
		want[id] = true
	}
	s.Restart(t)
	for _, url := range s.Registers() {
		after, err := s.list(t.Context(), url, "backend-services-", 2)
		check(t, err)
		if err := differ(want, after); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		s.read(t, url, servicesPath+"/backend-services/endpoints/api").Want(t, http.StatusOK, "", "")
	}
	s.allowed(t) // the token is still good
}
