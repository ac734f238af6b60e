package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/test/contract"
	"github.com/isectech/service-networking/test/history"
)

// recorded is the platform as package history wants it.
func recorded(t *testing.T, p *Processes) history.Registry {
	t.Helper()
	c, out := newClient(t, p), publisher(t, p)
	c.mustToken(t, backend)
	var sent atomic.Int64
	return history.Registry{
		Instances: len(p.Registers()), Store: p.store, Now: time.Now,
		Send: func(ctx context.Context, r history.Request) (history.Response, error) {
			raw, err := c.token(ctx, backend)
			if err != nil {
				return history.Response{}, err
			}
			a, err := c.send(ctx, p.Registers()[r.Instance], contract.Request{
				Method: r.Method, Path: r.Path, Body: r.Body, Token: raw, Header: r.Header,
			})
			return history.Response{Status: a.Status, Header: a.Header, Body: []byte(a.Text)}, err
		},
		Deliver: func(ctx context.Context, e events.Event) (bool, error) {
			raw, err := c.token(ctx, backend)
			if err != nil {
				return false, err
			}
			e.Auth = raw
			for range 2 { // besides what Pub/Sub repeats by itself
				if err := out.Publish(ctx, events.TopicRegistryCommands, e); err != nil {
					return false, err
				}
				sent.Add(1)
			}
			return false, nil
		},
		Settle: func() error {
			eventually(t, "every command is acknowledged", func(context.Context) error {
				if n := acknowledged(p, history.CommandSource); int64(n) < sent.Load() {
					return fmt.Errorf("%d of %d", n, sent.Load())
				}
				return nil
			})
			return nil
		},
	}
}

// acknowledged counts the messages from a source that RegisterCommand has done with.
func acknowledged(p *Processes, source string) int {
	messages := make(map[string]bool)
	for line := range strings.Lines(p.commands.output.tail(1 << 30)) {
		var entry struct {
			Source    string `json:"event_source"`
			MessageID string `json:"message_id"`
			Status    int    `json:"status"`
		}
		if strings.Contains(line, source) && json.Unmarshal([]byte(line), &entry) == nil && entry.Status == http.StatusNoContent {
			messages[entry.MessageID] = true
		}
	}
	return len(messages)
}

// faults kills functions and empties Redis, in turn, until the context ends.
func faults(ctx context.Context, t *testing.T, p *Processes) {
	for n := 0; ctx.Err() == nil; n++ {
		if n%4 == 3 {
			p.redis.Stop()
			p.redis.Start() //nolint:contextcheck // the server lasts as long as the test
		} else {
			part := p.registers[n%len(p.registers)]
			part.kill()
			check(t, part.start(context.WithoutCancel(ctx)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(200+rand.IntN(800)) * time.Millisecond):
		}
	}
}

// writesUnderFaults records what clients are answered while functions are killed, Redis forgets everything and
// commands come more than once, and wants an order in which it all happened.
func writesUnderFaults(t *testing.T, p *Processes) {
	w := &history.Writers{
		Registry: recorded(t, p), Prefix: "backend-services-history", IDs: 3, Clients: 4, Calls: long(25, 150), Seed: rand.Uint64(),
	}
	underFaults(t, p, func() { w.Run(t) })
	p.Verify(t)
}

// livesUnderFaults wants nobody to be shown an instance that has ended, longer than an answer's age says.
func livesUnderFaults(t *testing.T, p *Processes) {
	r := &history.Readers{
		Registry: recorded(t, p), Prefix: "backend-services-life", Readers: 3, Lives: long(24, 200), Lease: 2 * time.Second,
		Rest: func() { <-time.After(time.Duration(rand.IntN(500)) * time.Millisecond) },
	}
	underFaults(t, p, func() { r.Run(t) })
}

func underFaults(t *testing.T, p *Processes, run func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var trouble sync.WaitGroup
	trouble.Go(func() { faults(ctx, t, p) })
	run()
	stop()
	trouble.Wait()
	for _, url := range p.Registers() {
		eventually(t, "all instances are back", func(ctx context.Context) error {
			a, err := newClient(t, p).get(ctx, url, "/internal/registry/health")
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("%d %s", a.Status, a.Text)
			}
			return err
		})
	}
}
