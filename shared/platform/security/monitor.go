package security

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// How much is told, and how long an answer waits for it.
const (
	tellWindow    = time.Minute            // in which the same is told once, with how often it happened
	tellTimeout   = 500 * time.Millisecond // of publishing one
	tellPause     = 5 * time.Second        // after one could not be published
	tellDifferent = 1 << 11                // things that are told apart
)

// tellLimit bounds what one instance publishes, whatever happens to it.
var tellLimit = ratelimit.Limit{Requests: 120, Per: time.Minute}

// Publisher publishes incidents; events.Emitter does.
type Publisher interface {
	Security(ctx context.Context, id string, incident Incident) error
}

// Counter counts incidents, and what became of the events of them: published, repeated (the same was published
// within a minute), held (for the next event of the same) or failed. telemetry.Metrics does.
type Counter interface {
	SecurityEvent(kind, severity string)
	SecurityReport(result string)
}

// Options are what NewMonitor needs.
type Options struct {
	Publisher Publisher // nil: incidents are logged and counted alone
	Counter   Counter   // nil counts nothing
	Now       func() time.Time
	Logger    *slog.Logger
}

// Monitor tells of what is noticed. No request fails because of it, and none waits for longer than half a second.
// A nil one notices nothing.
type Monitor struct {
	Options
	detector *Detector

	mu     sync.Mutex
	told   map[string]*telling
	tat    int64     // of tellLimit
	paused time.Time // until then nothing is published
	swept  time.Time
}

// telling is what was told, or is to be told, of one thing.
type telling struct {
	until   time.Time // no sooner is it told again
	latest  Incident
	waiting int64 // how often it happened since it was told
}

// NewMonitor returns a Monitor that has noticed nothing.
func NewMonitor(o Options) *Monitor {
	return &Monitor{Options: o, detector: NewDetector(), told: make(map[string]*telling)}
}

// Refused tells of a request that was refused.
func (m *Monitor) Refused(ctx context.Context, o Observation) {
	if m != nil {
		m.reportAll(ctx, m.detector.Refused(o))
	}
}

// Used tells of what shows in a request whose credentials are good.
func (m *Monitor) Used(ctx context.Context, o Observation) {
	if m != nil {
		m.reportAll(ctx, m.detector.Used(o))
	}
}

func (m *Monitor) reportAll(ctx context.Context, found []Incident) {
	for _, i := range found {
		m.Report(ctx, i)
	}
}

// Report tells of an incident, before it returns: afterwards there may be no processor to do it with.
func (m *Monitor) Report(ctx context.Context, i Incident) {
	if m == nil {
		return
	}
	m.count(func(c Counter) { c.SecurityEvent(string(i.Kind), string(i.Severity)) })
	if i.RequestID == "" {
		i.RequestID = telemetry.RequestOf(ctx).ID
	}
	i.Detail = telemetry.Scrub(i.Detail)
	t, result := m.note(i)
	if t == nil {
		m.result(result)
		return
	}
	m.tell(ctx, t)
}

// note enters an incident, and returns what is to be told now; nil where nothing is, and why.
func (m *Monitor) note(i Incident) (t *telling, result string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	t = m.telling(i, now)
	t.latest = i
	t.waiting += max(i.Count, 1)
	switch {
	case now.Before(t.until):
		return nil, "repeated"
	case now.Before(m.paused):
		return nil, "held"
	}
	d, tat := tellLimit.Ask(m.tat, now.UnixNano())
	if m.tat = tat; !d.Allowed {
		return nil, "held"
	}
	t.until = now.Add(tellWindow)
	due := &telling{latest: i, waiting: t.waiting}
	t.waiting = 0
	return due, ""
}

// telling returns the entry of an incident. When there are too many, those of a kind are one.
func (m *Monitor) telling(i Incident, now time.Time) *telling {
	key := i.key(i.SourceNetwork)
	if i.ServiceName != "" {
		key = i.key(i.ServiceName + "@" + string(i.Environment))
	}
	t, ok := m.told[key]
	if !ok && len(m.told) >= tellDifferent {
		if m.sweep(now); len(m.told) >= tellDifferent {
			key = i.key("*")
			t, ok = m.told[key]
		}
	}
	if !ok {
		t = new(telling)
		m.told[key] = t
	}
	return t
}

// sweep forgets what may be told again anyway. What of it was not told yet stays counted in the metrics alone.
func (m *Monitor) sweep(now time.Time) {
	if now.Before(m.swept.Add(time.Second)) {
		return
	}
	m.swept = now
	for key, t := range m.told {
		if !now.Before(t.until) {
			delete(m.told, key)
		}
	}
}

func (i Incident) key(whom string) string {
	return string(i.Kind) + " " + string(i.Severity) + " " + whom
}

// tell publishes what is due, and logs it.
func (m *Monitor) tell(ctx context.Context, due *telling) {
	i := due.latest
	i.Count = due.waiting
	level, text, attrs := slog.LevelWarn, "security event", []slog.Attr{
		slog.String("event", i.Kind.Type()), slog.String("incident_severity", string(i.Severity)), slog.String("reason", string(i.Reason)),
		slog.String("detail", i.Detail), slog.String("source_network", i.SourceNetwork), slog.Int64("count", i.Count), slog.Any("evidence", i.Evidence),
	}
	if i.ServiceName != "" { // of a caller that is not known, the request's own line says more
		attrs = append(attrs, slog.String("service_name", i.ServiceName), slog.String("environment", string(i.Environment)))
	}
	if i.Severity == Critical {
		level = telemetry.LevelCritical
	}
	result := "published"
	if m.Publisher != nil {
		publishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTimeout)
		err := m.Publisher.Security(publishing, "", i)
		cancel()
		if err != nil {
			result, text = "failed", "security event that could not be published"
			attrs = append(attrs, slog.Any("error", err))
			m.failed(due)
		}
	}
	m.result(result)
	m.Logger.LogAttrs(ctx, level, text, attrs...)
}

// failed keeps what could not be told for the next time.
func (m *Monitor) failed(due *telling) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	m.paused = now.Add(tellPause)
	t := m.telling(due.latest, now)
	t.until = time.Time{}
	t.waiting += due.waiting
}

// Flush tells of what happened again after it was told, when the process ends.
func (m *Monitor) Flush(ctx context.Context) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	var due []*telling
	for _, t := range m.told {
		if t.waiting > 0 {
			due = append(due, &telling{latest: t.latest, waiting: t.waiting})
			t.waiting = 0
		}
	}
	m.mu.Unlock()
	for _, t := range due {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.tell(ctx, t)
	}
	return nil
}

func (m *Monitor) result(result string) { m.count(func(c Counter) { c.SecurityReport(result) }) }

func (m *Monitor) count(count func(Counter)) {
	if m.Counter != nil {
		count(m.Counter)
	}
}
