package security

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
)

// stage is a monitor with all that it stands on.
type stage struct {
	*Monitor
	mu      sync.Mutex
	now     time.Time
	told    []Incident
	err     error
	hangs   bool
	results map[string]int
	logs    strings.Builder
}

func newStage() *stage {
	s := &stage{now: start, results: map[string]int{}}
	s.Monitor = NewMonitor(Options{
		Publisher: s, Counter: s, Logger: slog.New(slog.NewJSONHandler(&s.logs, nil)),
		Now: func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now },
	})
	return s
}

func (s *stage) Security(ctx context.Context, _ string, i Incident) error {
	if s.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.told = append(s.told, i)
	return ctx.Err()
}

func (s *stage) SecurityEvent(kind, severity string) { s.results[kind+" "+severity]++ }
func (s *stage) SecurityReport(result string)        { s.results[result]++ }

func (s *stage) refuse(t *testing.T, o Observation) {
	t.Helper()
	o.At = s.now
	s.Refused(t.Context(), o)
}

func TestToldOnce(t *testing.T) {
	t.Parallel()
	s := newStage()
	replay := Observation{Reason: auth.Replayed, Subject: frontend}
	for range 10 {
		s.refuse(t, replay)
	}
	s.refuse(t, Observation{Reason: auth.Replayed, Subject: auth.MustSubject("isectech-admin")}) // somebody else
	s.refuse(t, Observation{Reason: auth.Revoked, Subject: frontend})                            // something else
	s.now = s.now.Add(tellWindow)
	s.refuse(t, replay)
	s.refuse(t, replay)
	var got []string
	for _, i := range s.told {
		got = append(got, fmt.Sprint(i.Kind, " ", i.ServiceName, " ", i.Count))
	}
	if diff := cmp.Diff([]string{
		"replay_detected isectech-frontend 1", "replay_detected isectech-admin 1", "revoked_credential_used isectech-frontend 1",
		"replay_detected isectech-frontend 10",
	}, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if err := s.Flush(t.Context()); err != nil || len(s.told) != 5 || s.told[4].Count != 1 {
		t.Errorf("at the end: %v %+v", err, s.told[4:])
	}
	if err := s.Flush(t.Context()); err != nil || len(s.told) != 5 {
		t.Errorf("once more: %v, %d", err, len(s.told))
	}
	want := map[string]int{"replay_detected high": 13, "revoked_credential_used high": 1, "published": 5, "repeated": 10}
	if diff := cmp.Diff(want, s.results); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

// What cannot be published is told with the next of its kind, and nobody waits meanwhile.
func TestCannotBePublished(t *testing.T) {
	t.Parallel()
	s := newStage()
	s.err = errors.New("no Pub/Sub")
	replay := Observation{Reason: auth.Replayed, Subject: frontend}
	for range 10 {
		s.refuse(t, replay)
	}
	if s.results["failed"] != 1 || s.results["held"] != 9 || !strings.Contains(s.logs.String(), "no Pub/Sub") {
		t.Errorf("%v %s", s.results, s.logs.String())
	}
	s.err = nil
	s.now = s.now.Add(tellPause)
	s.refuse(t, replay)
	if len(s.told) != 1 || s.told[0].Count != 11 {
		t.Errorf("told %+v", s.told)
	}
}

func TestNobodyWaitsForLong(t *testing.T) {
	t.Parallel()
	s := newStage()
	s.hangs = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the caller has gone: what it did is told all the same
	s.Refused(ctx, Observation{At: s.now, Reason: auth.Replayed, Subject: frontend})
	if s.results["failed"] != 1 {
		t.Errorf("%v", s.results)
	}
	s = newStage()
	s.Refused(ctx, Observation{At: s.now, Reason: auth.Replayed, Subject: frontend})
	if s.results["published"] != 1 {
		t.Errorf("%v", s.results)
	}
}

// Whoever comes from a million places is told of so often as one instance may, in memory that does not grow.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := newStage()
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 1})
		s.refuse(t, Observation{Reason: auth.BadSignature, Source: Source{Address: a}})
		if i%1000 == 0 {
			s.now = s.now.Add(100 * time.Millisecond)
		}
	}
	if n := len(s.told); n < int(tellLimit.Requests) || n > int(tellLimit.Requests)+20 {
		t.Errorf("%d are published", n)
	}
	if n := len(s.Monitor.told); n > tellDifferent+10 {
		t.Errorf("%d are remembered", n)
	}
	if s.results["auth_failed high"] != 100_000 {
		t.Errorf("%v", s.results)
	}
}

func TestNothingSecretIsTold(t *testing.T) {
	t.Parallel()
	s := newStage()
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	s.refuse(t, Observation{Reason: auth.MalformedToken, Detail: "not a token: " + token + strings.Repeat("x", 1<<16), Headers: strings.Repeat("X-Auth-A ", 1<<12)})
	if text := fmt.Sprintf("%+v", s.told) + s.logs.String(); strings.Contains(text, "eyJ") || len(text) > 4096 {
		t.Errorf("%d bytes: %.2000s", len(text), text)
	}
}

func TestNoMonitor(t *testing.T) {
	t.Parallel()
	var m *Monitor
	m.Refused(t.Context(), Observation{Reason: auth.Replayed})
	m.Used(t.Context(), Observation{})
	m.Report(t.Context(), Incident{})
	if err := m.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	m = NewMonitor(Options{Now: func() time.Time { return start }, Logger: slog.New(slog.DiscardHandler)})
	m.Refused(t.Context(), Observation{At: start, Reason: auth.Replayed}) // logged alone
}
