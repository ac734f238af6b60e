package register

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
)

// asked is something asked of one instance at a time of its own, over HTTP or by command.
type asked struct {
	kind    string // of event
	version string // of a registration
	at      time.Time
	done    bool // it has an effect, so far as its own answer says
}

// latest is the reference: what an instance is once all that was asked of it has been done in the order in which it
// was asked for, told without any of the registry's words.
func latest(history []asked) (version string) {
	history = slices.Clone(history)
	slices.SortFunc(history, func(a, b asked) int { return a.at.Compare(b.at) })
	for _, a := range history {
		switch {
		case !a.done:
		case a.kind == events.TypeRegister:
			version = a.version
		case a.kind == events.TypeUnregister:
			version = ""
		}
	}
	return version
}

// TestOrderOfCommandsAndCalls asks things of an instance over HTTP, which happen at once, and by commands, which come
// late, several times and in any order: in the end it is what the order of asking makes of it.
func TestOrderOfCommandsAndCalls(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		id := fmt.Sprintf("backend-services-run-%d", run)
		token := f.command(t, "", "", "").Auth
		var history []asked
		var queue []events.Event
		deliver := func(i int) {
			// Acknowledged or not, it may come again; what is not acknowledged must.
			e := queue[i]
			if code := f.send(t, e); code == http.StatusNoContent {
				if rapid.IntRange(0, 2).Draw(rt, "again") > 0 {
					queue = slices.Delete(queue, i, i+1)
				}
			} else if code != http.StatusServiceUnavailable {
				rt.Fatalf("%s: %d", e.Type, code)
			}
		}
		steps := rapid.IntRange(1, 10).Draw(rt, "steps")
		for range steps {
			f.Clock.Advance(time.Second)
			a := asked{at: f.Clock.Now(), done: true}
			a.kind = rapid.SampledFrom([]string{events.TypeRegister, events.TypeRegister, events.TypeHeartbeat, events.TypeUnregister}).Draw(rt, "kind")
			body := named(id)
			if a.kind == events.TypeRegister {
				a.version = rapid.SampledFrom([]string{"1", "2"}).Draw(rt, "version")
				body = fmt.Sprintf(`{"service_id":%q,"service_name":"backend","version":%q,"environment":"production"}`, id, a.version)
			}
			if rapid.Bool().Draw(rt, "command") {
				e := f.command(t, a.kind, fmt.Sprintf("%s-%d", id, len(history)), body)
				e.Auth = token
				queue = append(queue, e)
			} else {
				var code int
				switch a.kind {
				case events.TypeRegister:
					code = f.call(t, token, http.MethodPost, "/internal/registry/register", body).Code
				case events.TypeHeartbeat:
					code = f.call(t, token, http.MethodPut, services+"/"+id+"/heartbeat", "").Code
				default:
					code = f.call(t, token, http.MethodDelete, services+"/"+id, "").Code
				}
				a.done = code < 300 // what is refused leaves no trace
				if !a.done && code != http.StatusNotFound {
					rt.Fatalf("%s over HTTP: %d", a.kind, code)
				}
			}
			history = append(history, a)
			for len(queue) > 0 && rapid.Bool().Draw(rt, "deliver") {
				deliver(rapid.IntRange(0, len(queue)-1).Draw(rt, "which"))
			}
		}
		// All that is still on its way comes. An end whose instance is not there is given up after a while.
		for round := 0; len(queue) > 0; round++ {
			if round == 40 {
				f.Clock.Advance(registerGrace)
			}
			for i := len(queue) - 1; i >= 0; i-- {
				deliver(i)
			}
		}
		got := ""
		if doc, err := f.Store.Get(t.Context(), store.Ref{Collection: store.Services, ID: id}); err == nil {
			var record struct {
				Version string `json:"version"`
			}
			if err := json.Unmarshal(doc.Data, &record); err != nil {
				rt.Fatal(err)
			}
			got = record.Version
		}
		if want := latest(history); got != want {
			rt.Fatalf("version %q, want %q of %+v", got, want, history)
		}
		entries, err := store.Entries(t.Context(), f.Store, "services/"+id, 0, 500)
		if err != nil {
			rt.Fatal(err)
		}
		causes := make(map[string]bool)
		for _, e := range entries {
			if causes[e.Cause] {
				rt.Fatalf("%s has its effect twice", e.Cause)
			}
			causes[e.Cause] = true
		}
	})
}

// Over HTTP and as a command the same registration makes the same record.
func TestSameByHTTPAndByCommand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	record := func(id string) (data string) {
		var all map[string]any
		if err := json.Unmarshal(f.document(t, id).Data, &all); err != nil {
			t.Fatal(err)
		}
		delete(all, "service_id")
		text, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	body := func(id, version string) string {
		return fmt.Sprintf(`{"service_id":%q,"service_name":"backend-services","version":%q,"environment":"production","weight":7,"lease":"1m",
			"tags":["a"],"metadata":{"k":"v"},"health_check":{"enabled":true,"path":"/health"},
			"endpoints":[{"name":"api","url":"https://api.isectech.com"}]}`, id, version)
	}
	for i, version := range []string{"1", "2"} {
		w := f.call(t, "", http.MethodPost, "/internal/registry/register", body("backend-services-http", version))
		if w.Code != http.StatusCreated && w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		f.send(t, f.command(t, events.TypeRegister, fmt.Sprint(i), body("backend-services-command", version)))
		if a, b := record("backend-services-http"), record("backend-services-command"); a != b {
			t.Errorf("by HTTP %s\nby command %s", a, b)
		}
		f.Clock.Advance(10 * time.Second)
	}
	for i, bad := range []string{`{"service_id":"backend-services-x","weight":-1}`, body("admin-1", "1"), `{}`} {
		before := f.generation(t, "backend-services-x")
		if w := f.call(t, "", http.MethodPost, "/internal/registry/register", bad); w.Code < 400 {
			t.Errorf("%s over HTTP: %d", bad, w.Code)
		}
		if code := f.send(t, f.command(t, events.TypeRegister, fmt.Sprint("bad-", i), bad)); code != http.StatusNoContent || f.generation(t, "backend-services-x") != before {
			t.Errorf("%s by command: %d", bad, code)
		}
	}
}

// A registration that takes its time has an effect counted from when it was sent: after its lease it makes an
// instance that nobody discovers.
func TestLeaseCountsFromWhenTheCommandWasSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	late := f.command(t, events.TypeRegister, "1", registration("backend-services-1"))
	f.Clock.Advance(91 * time.Second)
	if code := f.send(t, late); code != http.StatusNoContent || f.generation(t, "backend-services-1") != 1 {
		t.Fatalf("%d, generation %d", code, f.generation(t, "backend-services-1"))
	}
	got := read[struct {
		Lapsed bool `json:"lapsed"`
	}](t, f.call(t, "", http.MethodGet, services+"/backend-services-1", ""))
	if !got.Lapsed {
		t.Error("the lease began when the command came")
	}
	if w := f.call(t, "", http.MethodGet, services+"/backend/endpoints/api", ""); w.Code != http.StatusNotFound {
		t.Errorf("discovered: %s", w.Body)
	}
}
