package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
)

const killsPrefix = "backend-services-kill-"

// load registers instances, over HTTP and by command, until it is told to stop; then each has been acknowledged.
type load struct {
	*client
	t       testing.TB
	publish *events.PubSub
	done    atomic.Int64

	mu           sync.Mutex
	acknowledged map[string]bool // ids
}

func (l *load) note(id string) {
	l.done.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[id] = true
}

// registers registers one instance after the other, each until it is acknowledged.
func (l *load) registers(ctx context.Context, url, name string) {
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s%s-%d", killsPrefix, name, n)
		var err error
		if !retry(context.WithoutCancel(ctx), func(ctx context.Context) bool {
			a, sent := l.register(ctx, url, instance(id, "1.0.0"))
			if err = sent; err == nil && a.Status >= 300 {
				err = fmt.Errorf("%d %s", a.Status, a.Text)
			}
			if err == nil {
				l.note(id)
			}
			return err == nil
		}) {
			l.t.Errorf("%s has not been registered: %v", id, err)
			return
		}
	}
}

// commands publishes one command after the other.
func (l *load) commands(ctx context.Context) {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		id := fmt.Sprintf("%scommand-%d", killsPrefix, n)
		var err error
		if !retry(context.WithoutCancel(ctx), func(ctx context.Context) bool {
			var raw string
			if raw, err = l.token(ctx, backend); err != nil {
				return false
			}
			err = l.publish.Publish(ctx, events.TopicRegistryCommands, events.Event{
				ID: id, Source: "//isectech.com/services/kills", Type: events.TypeRegister, Time: time.Now(),
				Data: []byte(instance(id, "1.0.0")), ContentType: "application/json", Auth: raw,
			})
			return err == nil
		}) {
			l.t.Errorf("%s has not been published: %v", id, err)
			return
		}
		l.note(id)
	}
}

// retry tries until it succeeds or there is no hope.
func retry(ctx context.Context, try func(context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !try(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// missing returns those that are not in the store.
func (l *load) missing(ctx context.Context, p *Processes) map[string]error {
	missing := map[string]error{}
	for id := range l.acknowledged {
		if _, err := p.store.Get(ctx, store.Ref{Collection: store.Services, ID: id}); err != nil {
			missing[id] = err
		}
	}
	return missing
}

// arrive waits for all that was acknowledged, for as long as more of it comes.
func (l *load) arrive(p *Processes) {
	for left := len(l.missing(l.t.Context(), p)); left > 0; {
		eventually(l.t, "more of what was acknowledged is there", func(ctx context.Context) error {
			now := len(l.missing(ctx, p))
			if now >= left {
				return fmt.Errorf("%d of %d are missing", now, len(l.acknowledged))
			}
			left = now
			return nil
		})
	}
}

// explain says of each instance that is missing what RegisterCommand has logged about it.
func (l *load) explain(p *Processes) {
	for id, err := range l.missing(context.Background(), p) {
		l.t.Logf("%s: %v", id, err)
		for line := range strings.Lines(p.commands.output.tail(1 << 30)) {
			if strings.Contains(line, id+"\"") {
				l.t.Logf("RegisterCommand: %s", line)
			}
		}
	}
}

// functionsKilled kills each function again and again while it works.
func functionsKilled(t *testing.T, p *Processes) {
	rounds := long(3, 20)
	changes := listen(t, p, events.TopicRegistryChanges)
	l := &load{client: newClient(t, p), t: t, publish: publisher(t, p), acknowledged: map[string]bool{}}
	l.mustToken(t, backend)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	for i, url := range p.Registers() {
		for w := range 2 {
			workers.Go(func() { l.registers(ctx, url, fmt.Sprintf("%d-%d", i, w)) })
		}
	}
	workers.Go(func() { l.commands(ctx) })
	for range rounds {
		for _, part := range p.functions() {
			before := l.done.Load()
			eventually(t, "work goes on", func(context.Context) error {
				if l.done.Load() < before+5 {
					return fmt.Errorf("%d more have been acknowledged", l.done.Load()-before)
				}
				return nil
			})
			part.kill()
			check(t, part.start(t.Context()))
		}
	}
	stop()
	workers.Wait()
	t.Logf("%d instances while %d functions were killed %d times each", len(l.acknowledged), len(p.functions()), rounds)

	t.Cleanup(func() { l.explain(p) })
	l.arrive(p)
	for _, url := range p.Registers() {
		eventually(t, "all that was acknowledged is there", func(ctx context.Context) error {
			got, err := l.list(ctx, url, killsPrefix, 500)
			if err != nil {
				return err
			}
			return differ(l.acknowledged, got)
		})
	}
	for id := range l.acknowledged {
		doc, err := p.store.Get(t.Context(), store.Ref{Collection: store.Services, ID: id})
		check(t, err)
		if doc.Generation != 1 {
			t.Errorf("%s, registered once, has generation %d", id, doc.Generation)
		}
	}
	eventually(t, "each change is heard of", func(context.Context) error {
		got, err := changes.ids(func(subject string) bool { return strings.HasPrefix(subject, killsPrefix) })
		if err != nil {
			return err
		}
		ids := make([]string, 0, len(got))
		for id, kind := range got {
			if kind != events.TypeServiceCreated {
				return fmt.Errorf("%s is %s", id, kind)
			}
			ids = append(ids, strings.TrimSuffix(id, "@1"))
		}
		return differ(l.acknowledged, ids)
	})
	t.Logf("%d changes were delivered more than once", changes.repeated)
	a := l.do(t, p.Authz(), l.ask(gateway))
	a.Want(t, http.StatusOK, "", "")
	p.Verify(t)
}
