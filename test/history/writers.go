package history

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
)

// Request is one call to one instance of the registry.
type Request struct {
	Instance int
	Method   string
	Path     string
	Body     string
	Header   http.Header
}

// Response is an answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Registry is the platform under test.
type Registry struct {
	Instances int
	Store     store.Store
	Now       func() time.Time
	// Send makes a call as the backend does. It fails where no answer came, or none that says what became of it.
	Send func(ctx context.Context, r Request) (Response, error)
	// Deliver hands over a command, as often as the platform likes to, and says whether the platform is done with it.
	Deliver func(ctx context.Context, e events.Event) (done bool, err error)
	// Settle, where there is one, waits until the platform is done with all commands.
	Settle func() error
}

// Writers are concurrent clients that write a few instances.
type Writers struct {
	Registry

	Prefix  string // of the instances' ids, such as backend-services-history
	IDs     int
	Clients int
	Calls   int // of each client
	Seed    uint64

	clock      atomic.Int64
	mu         sync.Mutex
	done       []porcupine.Operation
	unanswered []unanswered
}

// unanswered is a call that nobody was answered: it was made by message, or its answer was lost. What became of it is
// looked up at the end.
type unanswered struct {
	input
	cause        string
	began, ended int64
}

// Run lets all clients make their calls, and fails the test unless what they were answered is linearizable.
func (w *Writers) Run(t testing.TB) {
	t.Helper()
	t.Logf("seed %d", w.Seed)
	var clients sync.WaitGroup
	for n := range w.Clients {
		clients.Go(func() { w.client(t, n) })
	}
	clients.Wait()
	if w.Settle != nil {
		if err := w.Settle(); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(t)
	w.judge(t)
}

func (w *Writers) client(t testing.TB, n int) {
	dice := rand.New(rand.NewPCG(w.Seed, uint64(n))) // #nosec G404 -- a test's dice, repeatable by their seed
	seen := make(map[string]int64)                   // generations
	for c := range w.Calls {
		in := input{id: fmt.Sprintf("%s-%d", w.Prefix, dice.IntN(w.IDs))}
		switch roll := dice.IntN(10); {
		case roll < 4:
			in.kind, in.version = kindRegister, fmt.Sprintf("%d.%d", n, c)
		case roll < 6:
			in.kind = kindHeartbeat
		case roll < 8:
			in.kind, in.weight = kindPatch, 2+dice.IntN(900)
			if dice.IntN(2) == 0 {
				in.ifMatch = seen[in.id]
			}
		default:
			in.kind = kindUnregister
		}
		began := w.clock.Add(1)
		if (in.kind == kindRegister || in.kind == kindUnregister) && dice.IntN(5) == 0 {
			w.send(t, in, began, fmt.Sprintf("%s-%d-%d", w.Prefix, n, c))
			continue
		}
		cause := fmt.Sprintf("%s-call-%d-%d", w.Prefix, n, c)
		out := w.call(t.Context(), dice.IntN(w.Instances), in, cause)
		if out.status == 0 || out.status >= 500 {
			w.await(unanswered{in, cause, began, math.MaxInt64}) // its effect may come at any time
			continue
		}
		if out.generation != 0 {
			seen[in.id] = out.generation
		}
		w.note(n, in, out, began, w.clock.Add(1))
	}
}

func (w *Writers) note(client int, in input, out output, began, ended int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: began, Return: ended})
}

const (
	services     = "/internal/registry/services/"
	registerPath = "/internal/registry/register"
)

func (w *Writers) body(in input) string {
	if in.kind == kindRegister {
		return fmt.Sprintf(`{"service_id":%q,"service_name":"backend","environment":"production","version":%q,"lease":"1h"}`, in.id, in.version)
	}
	return fmt.Sprintf(`{"service_id":%q}`, in.id)
}

// call makes a call over HTTP.
func (w *Writers) call(ctx context.Context, instance int, in input, cause string) output {
	r := Request{Instance: instance, Header: http.Header{"X-Request-Id": {cause}}}
	switch in.kind {
	case kindRegister:
		r.Method, r.Path, r.Body = http.MethodPost, registerPath, w.body(in)
	case kindHeartbeat:
		r.Method, r.Path = http.MethodPut, services+in.id+"/heartbeat"
	case kindPatch:
		r.Method, r.Path, r.Body = http.MethodPatch, services+in.id, fmt.Sprintf(`{"weight":%d}`, in.weight)
		if in.ifMatch != 0 {
			r.Header.Set("If-Match", `"`+strconv.FormatInt(in.ifMatch, 10)+`"`)
		}
	case kindUnregister:
		r.Method, r.Path = http.MethodDelete, services+in.id
	}
	a, err := w.Send(ctx, r)
	if err != nil {
		return output{}
	}
	out := output{status: a.Status}
	var told struct {
		Generation int64  `json:"generation"`
		Version    string `json:"version"`
		Weight     int    `json:"weight"`
	}
	if len(a.Body) > 0 && json.Unmarshal(a.Body, &told) == nil {
		out.generation, out.version, out.weight = told.Generation, told.Version, told.Weight
	}
	return out
}

// CommandSource is the source of the commands.
const CommandSource = "//isectech.com/test/history"

// send has a call made by message.
func (w *Writers) send(t testing.TB, in input, began int64, id string) {
	e := events.Event{
		ID: id, Source: CommandSource, Type: events.TypeRegister, Time: w.Now(), Data: []byte(w.body(in)), ContentType: "application/json",
	}
	if in.kind == kindUnregister {
		e.Type = events.TypeUnregister
	}
	done, err := w.Deliver(t.Context(), e)
	if err != nil {
		t.Errorf("command %s: %v", id, err)
	}
	ended := int64(math.MaxInt64)
	if done {
		ended = w.clock.Add(1)
	}
	w.await(unanswered{in, e.Cause(), began, ended})
}

func (w *Writers) await(u unanswered) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unanswered = append(w.unanswered, u)
}

// settle notes the calls without an answer that have had their effect, by the word of the journal: each once.
func (w *Writers) settle(t testing.TB) {
	t.Helper()
	effects := make(map[string]int64) // generations by cause
	for n := range w.IDs {
		object := fmt.Sprintf("services/%s-%d", w.Prefix, n)
		for after, more := int64(0), true; more; {
			entries, err := store.Entries(t.Context(), w.Store, object, after, 500)
			if err != nil {
				t.Fatalf("journal of %s: %v", object, err)
			}
			for _, e := range entries {
				if effects[e.Cause] != 0 {
					t.Errorf("%s: %s has its effect twice", object, e.Cause)
				}
				effects[e.Cause], after = e.Sequence, e.Sequence
			}
			more = len(entries) > 0
		}
	}
	had := 0
	for _, u := range w.unanswered {
		if generation := effects[u.cause]; generation != 0 {
			had++
			w.note(w.Clients, u.input, output{journaled: true, generation: generation}, u.began, u.ended)
		}
	}
	t.Logf("%d of %d commands and lost answers had an effect", had, len(w.unanswered))
}

// checkTimeout bounds the search for an order. Histories of the sizes used here take a fraction of a second.
const checkTimeout = time.Minute

func (w *Writers) judge(t testing.TB) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(model(), w.done, checkTimeout)
	t.Logf("%d calls with an effect or an answer: %s", len(w.done), result)
	if result == porcupine.Ok {
		return
	}
	path := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(model(), info, path); err != nil {
		t.Logf("the history cannot be shown: %v", err)
	}
	t.Errorf("the history is not linearizable (%s), see %s", result, path)
}
