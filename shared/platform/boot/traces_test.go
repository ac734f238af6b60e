package boot

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/tracing"
)

// Traces start once, before the first function is built, and end after all that functions close.
func TestTracesOutliveTheFunctions(t *testing.T) {
	t.Parallel()
	var seen []string
	note := func(what string) func(context.Context) error {
		return func(context.Context) error {
			seen = append(seen, what)
			return nil
		}
	}
	tracing.Link(func(_ context.Context, c tracing.Config, e tracing.Environment) (func(context.Context) error, error) {
		seen = append(seen, "record "+string(c.Exporter)+" as "+e.Service)
		return note("export the last spans"), nil
	})
	p, _ := world(time.Now, map[string]string{"OTEL_TRACES_EXPORTER": "console", "K_SERVICE": "isectech-f"})
	for _, name := range []string{"F", "G"} {
		f := p.function(name, func(_ context.Context, env Env) (http.Handler, error) {
			seen = append(seen, "build "+name)
			env.OnShutdown(name, note("close "+name))
			return ok, nil
		})
		if w := get(f); w.Code != http.StatusNoContent {
			t.Fatal(w.Code, w.Body)
		}
	}
	p.drain()
	want := []string{"record console as isectech-f", "build F", "build G", "close G", "close F", "export the last spans"}
	if d := cmp.Diff(want, seen); d != "" {
		t.Error(d)
	}
}
