package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/platform/events/eventstest"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// long is how much of something there is with LONG=1.
func long(short, long int) int {
	if os.Getenv("LONG") == "1" {
		return long
	}
	return short
}

// instances is how many there are of the registry.
const instances = 3

// threeOverOne makes three instances of the registry over one store. Each reaches it by a connection of its own,
// which can be cut. Time goes as it does outside: what the registry takes for settled must not be a commit that
// a clock in a hurry has left behind.
func threeOverOne(t *testing.T) (Registry, []*storetest.Faulty) {
	t.Helper()
	p := platformtest.New(t)
	var cfg register.Config
	if err := config.Load(func(string) (string, bool) { return "", false }, &cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C: // whose own time may lie before last
				now := time.Now()
				p.Clock.Advance(now.Sub(last))
				last = now
			}
		}
	}()
	var https, commands []http.Handler
	var connections []*storetest.Faulty
	for range instances {
		connection := storetest.NewFaulty(p.Store)
		s, err := register.New(cfg, register.Deps{
			Store: connection, Now: p.Clock.Now, Logger: p.Logger(), Metrics: telemetry.NewMetrics(), Publisher: new(eventstest.Recorder),
			Told: register.NewToldHere(p.Clock.Now),
		})
		if err != nil {
			t.Fatal(err)
		}
		https, commands = append(https, s.Handler()), append(commands, s.Commands())
		connections = append(connections, connection)
	}
	claims := p.Claims("isectech-backend-services", auth.PlatformAudience, auth.ServiceDiscover)
	claims.ExpiresAt = claims.IssuedAt.Add(15 * time.Minute)
	token := p.Mint(t, claims)
	return Registry{
		Instances: instances, Store: p.Store, Now: p.Clock.Now,
		Send: func(ctx context.Context, r Request) (Response, error) {
			req := httptest.NewRequestWithContext(ctx, r.Method, r.Path, strings.NewReader(r.Body))
			for name, values := range r.Header {
				req.Header[name] = values
			}
			if r.Body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			req.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			https[r.Instance].ServeHTTP(w, req)
			return Response{w.Code, w.Header(), w.Body.Bytes()}, nil
		},
		Deliver: func(_ context.Context, e events.Event) (bool, error) {
			e.Auth = token
			done := 0
			for n := range 50 { // more often than once, and by any instance
				r, err := eventstest.Eventarc(events.TopicRegistryCommands, e, fmt.Sprintf("m-%s-%d", e.ID, n), e.Time) //nolint:contextcheck // a delivery has none of its sender's
				if err != nil {
					return false, err
				}
				w := httptest.NewRecorder()
				commands[rand.IntN(instances)].ServeHTTP(w, r)
				if w.Code == http.StatusNoContent {
					if done++; done == 3 {
						return true, nil
					}
				}
			}
			return true, nil // an end that waits for its instance
		},
	}, connections
}

// breaks cuts connections now and then until the context ends, some times at most: what has no answer may have
// happened at any time since, and a search for an order tries all of them.
func breaks(ctx context.Context, connections []*storetest.Faulty, most int) {
	for n := range most {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
		}
		c := connections[rand.IntN(len(connections))]
		if n%2 == 0 {
			c.LoseAnswer(1, store.ErrUnavailable)
		} else {
			c.Fail([]string{storetest.CallGetAll, storetest.CallCommit, storetest.CallChanges}[rand.IntN(3)], 1, store.ErrUnavailable)
		}
	}
}

func TestWritesAreLinearizable(t *testing.T) {
	t.Parallel()
	for round := range long(2, 20) {
		r, connections := threeOverOne(t)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); breaks(ctx, connections, 16) }()
		w := &Writers{Registry: r, Prefix: "backend-services-history", IDs: 3, Clients: 6, Calls: long(60, 150), Seed: rand.Uint64()}
		w.Run(t)
		stop()
		<-ended
		report, err := store.Verify(t.Context(), r.Store, r.Now())
		if err != nil || !report.Clean() {
			t.Errorf("round %d: journal: %v %v", round, report.Faults, err)
		}
	}
}

func TestNobodyIsShownGhosts(t *testing.T) {
	t.Parallel()
	r, connections := threeOverOne(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); breaks(ctx, connections, 1000) }()
	readers := &Readers{
		Registry: r, Prefix: "backend-services-life", Readers: 3, Lives: long(100, 4000), Lease: time.Second,
		Rest: func() { <-time.After(time.Duration(rand.IntN(100)) * time.Millisecond) },
	}
	readers.Run(t)
	stop()
	<-ended
}
