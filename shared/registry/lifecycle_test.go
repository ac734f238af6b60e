package registry_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
)

var t0 = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// registered returns the seed's record, registered at t0 and changed as told.
func registered(change func(*registry.Record)) registry.Record {
	rec, outcome, err := registry.Register(nil, seed(), t0)
	if err != nil || outcome != registry.Created {
		panic("a first registration is not created")
	}
	if change != nil {
		change(&rec)
	}
	return rec
}

func status(s registry.Status) func(*registry.Record) {
	return func(r *registry.Record) { r.Status = s }
}

func TestRegisterDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		current func(*registry.Record)
		reg     func(*registry.Registration)
		at      float64
		outcome registry.Outcome
		status  registry.Status
		since   float64
	}{
		{"same", nil, nil, 10, registry.Unchanged, registry.Starting, 0},
		{"same while healthy", status(registry.Healthy), nil, 10, registry.Unchanged, registry.Healthy, 0},
		{"new version", status(registry.Healthy), func(r *registry.Registration) { r.Version = "3" }, 10, registry.Updated, registry.Healthy, 0},
		{"new endpoint must prove itself", status(registry.Healthy), func(r *registry.Registration) { r.Endpoints[0].URL += "/v2" }, 10, registry.Updated, registry.Starting, 10},
		{"new check must prove itself", status(registry.Unhealthy), func(r *registry.Registration) { r.HealthCheck.Path = "/x" }, 10, registry.Updated, registry.Starting, 10},
		{"check switched off", status(registry.Unhealthy), func(r *registry.Registration) { r.HealthCheck = registry.HealthCheck{} }, 10, registry.Updated, registry.Healthy, 10},
		{"same after a lapse", status(registry.Healthy), nil, 90, registry.Updated, registry.Starting, 90},
		{"same just before the lapse", status(registry.Healthy), nil, 89.999, registry.Unchanged, registry.Healthy, 0},
		{"starting after a lapse", nil, nil, 100, registry.Updated, registry.Starting, 100},
		{"maintenance survives", status(registry.Maintenance), nil, 10, registry.Unchanged, registry.Maintenance, 0},
		{"maintenance survives a lapse", status(registry.Maintenance), nil, 100, registry.Unchanged, registry.Maintenance, 0},
		{"maintenance survives new endpoints", status(registry.Maintenance), func(r *registry.Registration) { r.Endpoints = nil }, 10, registry.Updated, registry.Maintenance, 0},
		{"quarantine survives", status(registry.Quarantined), func(r *registry.Registration) { r.Endpoints = nil }, 100, registry.Updated, registry.Quarantined, 0},
		{"stopping ends", status(registry.Stopping), nil, 10, registry.Updated, registry.Starting, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			current, reg := registered(tt.current), seed()
			if tt.reg != nil {
				tt.reg(&reg)
			}
			next, outcome, err := registry.Register(&current, reg, at(tt.at))
			if err != nil {
				t.Fatal(err)
			}
			want := registry.Record{
				Registration: reg, Status: tt.status, StatusSince: at(tt.since), RegisteredAt: t0, LeaseEnd: at(tt.at + 90),
				Asked: registry.Asked{Registered: at(tt.at).UnixMicro()},
			}
			if diff := cmp.Diff(want, next); diff != "" || outcome != tt.outcome {
				t.Errorf("outcome %s, want %s; record (-want +got):\n%s", outcome, tt.outcome, diff)
			}
		})
	}
}

func TestRegisterNeverMovesAnID(t *testing.T) {
	t.Parallel()
	current := registered(nil)
	for _, change := range []func(*registry.Registration){
		func(r *registry.Registration) { r.ServiceName = "isectech-frontend" },
		func(r *registry.Registration) { r.Environment = auth.Development },
	} {
		reg := seed()
		change(&reg)
		if _, _, err := registry.Register(&current, reg, t0); !errors.Is(err, registry.ErrNotOwner) {
			t.Errorf("moved %s to %s in %s: %v", current.ServiceID, reg.ServiceName, reg.Environment, err)
		}
	}
}

func TestHeartbeatDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		current func(*registry.Record)
		at      float64
		effect  registry.Effect
		status  registry.Status
		end     float64
	}{
		{"early", status(registry.Healthy), 44, registry.Nothing, registry.Healthy, 90},
		{"at half", status(registry.Healthy), 45, registry.LeaseOnly, registry.Healthy, 135},
		{"late", status(registry.Unhealthy), 89, registry.LeaseOnly, registry.Unhealthy, 179},
		{"lapsed", status(registry.Healthy), 90, registry.All, registry.Starting, 180},
		{"lapsed while starting", nil, 90, registry.All, registry.Starting, 180},
		{"lapsed without a check", func(r *registry.Record) { r.HealthCheck.Enabled = false; r.Status = registry.Unhealthy }, 90, registry.All, registry.Healthy, 180},
		{"lapsed in maintenance", status(registry.Maintenance), 100, registry.LeaseOnly, registry.Maintenance, 190},
		{"lapsed while stopping", status(registry.Stopping), 100, registry.LeaseOnly, registry.Stopping, 190},
		{"lapsed in quarantine", status(registry.Quarantined), 100, registry.LeaseOnly, registry.Quarantined, 190},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			next, effect := registry.Heartbeat(registered(tt.current), at(tt.at))
			if effect != tt.effect || next.Status != tt.status || !next.LeaseEnd.Equal(at(tt.end)) {
				t.Errorf("effect %d, status %s, end %v; want %d, %s, %v", effect, next.Status, next.LeaseEnd, tt.effect, tt.status, at(tt.end))
			}
		})
	}
	eternal := registered(func(r *registry.Record) { r.Lease, r.LeaseEnd = 0, time.Time{} })
	if next, effect := registry.Heartbeat(eternal, at(1e6)); effect != registry.Nothing || next.Lapsed(at(1e6)) {
		t.Errorf("without a lease: effect %d, lapsed %t", effect, next.Lapsed(at(1e6)))
	}
}

func TestPatchDecision(t *testing.T) {
	t.Parallel()
	value := func(s string) *string { return &s }
	set := func(s registry.Status) registry.Patch { return registry.Patch{Status: s} }
	weight := 7
	tests := []struct {
		name    string
		current func(*registry.Record)
		patch   registry.Patch
		role    registry.Role
		effect  registry.Effect
		status  registry.Status
		refused bool
	}{
		{"nothing", nil, registry.Patch{}, registry.Owner, registry.Nothing, registry.Starting, false},
		{"maintenance", status(registry.Healthy), set(registry.Maintenance), registry.Owner, registry.All, registry.Maintenance, false},
		{"maintenance again", status(registry.Maintenance), set(registry.Maintenance), registry.Owner, registry.Nothing, registry.Maintenance, false},
		{"out of maintenance", status(registry.Maintenance), set(registry.Starting), registry.Owner, registry.All, registry.Starting, false},
		{"out of maintenance without a check", func(r *registry.Record) { r.Status = registry.Maintenance; r.HealthCheck.Enabled = false }, set(registry.Starting), registry.Owner, registry.All, registry.Healthy, false},
		{"starting when healthy without a check", func(r *registry.Record) { r.Status = registry.Healthy; r.HealthCheck.Enabled = false }, set(registry.Starting), registry.Owner, registry.Nothing, registry.Healthy, false},
		{"stopping", status(registry.Unhealthy), set(registry.Stopping), registry.Owner, registry.All, registry.Stopping, false},
		{"stopping called off", status(registry.Stopping), set(registry.Starting), registry.Owner, registry.All, registry.Starting, false},
		{"out of quarantine by owner", status(registry.Quarantined), set(registry.Starting), registry.Owner, registry.Nothing, registry.Quarantined, true},
		{"quarantine to maintenance", status(registry.Quarantined), set(registry.Maintenance), registry.Owner, registry.Nothing, registry.Quarantined, true},
		{"out of quarantine by operator", status(registry.Quarantined), set(registry.Starting), registry.Operator, registry.Nothing, registry.Quarantined, true},
		{"tags in quarantine", status(registry.Quarantined), registry.Patch{Tags: &[]string{"x"}}, registry.Owner, registry.All, registry.Quarantined, false},
		{"weight", nil, registry.Patch{Weight: &weight}, registry.Owner, registry.All, registry.Starting, false},
		{"metadata", nil, registry.Patch{Metadata: map[string]*string{"a": value("1")}}, registry.Owner, registry.All, registry.Starting, false},
		{"metadata that is not there", nil, registry.Patch{Metadata: map[string]*string{"a": nil}}, registry.Owner, registry.Nothing, registry.Starting, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			current := registered(tt.current)
			next, effect, err := tt.patch.Apply(current, tt.role, at(10))
			if effect != tt.effect || next.Status != tt.status || errors.Is(err, registry.ErrTransition) != tt.refused {
				t.Errorf("effect %d, status %s, error %v; want %d, %s, refused %t", effect, next.Status, err, tt.effect, tt.status, tt.refused)
			}
			if !next.LeaseEnd.Equal(current.LeaseEnd) {
				t.Errorf("the patch moved the lease to %v", next.LeaseEnd)
			}
		})
	}
}

func TestPatchMergesMetadata(t *testing.T) {
	t.Parallel()
	value := "2"
	current := registered(func(r *registry.Record) { r.Metadata = map[string]string{"keep": "1", "change": "1", "drop": "1"} })
	next, _, err := registry.Patch{Metadata: map[string]*string{"change": &value, "drop": nil, "add": &value}}.Apply(current, registry.Owner, t0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"keep": "1", "change": "2", "add": "2"}, next.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"keep": "1", "change": "1", "drop": "1"}, current.Metadata); diff != "" {
		t.Errorf("the patch changed its original (-want +got):\n%s", diff)
	}
}

func TestUnregisterDecision(t *testing.T) {
	t.Parallel()
	for _, s := range registry.Statuses() {
		for _, role := range []registry.Role{registry.Owner, registry.Operator} {
			err := registry.Unregister(registered(status(s)), role)
			if want := s == registry.Quarantined && role == registry.Owner; errors.Is(err, registry.ErrTransition) != want {
				t.Errorf("%s by %s: %v", s, role, err)
			}
		}
	}
}

// model is the lifecycle told naively, as a few flags from which the status follows.
type model struct {
	exists      bool
	taken       registry.Status // maintenance, stopping or quarantined; "" when nobody has taken it out
	verdict     registry.Status // what the prober last said since the instance was new; "" before
	check       bool
	endpoint    string
	leaseSecond int // length; 0 for none
	ends        time.Time
}

func (m *model) status() registry.Status {
	switch {
	case m.taken != "":
		return m.taken
	case m.verdict != "":
		return m.verdict
	case m.check:
		return registry.Starting
	default:
		return registry.Healthy
	}
}

func (m *model) lapsed(now time.Time) bool { return m.leaseSecond > 0 && !now.Before(m.ends) }

func (m *model) discoverable(now time.Time) bool {
	return m.exists && !m.lapsed(now) && (m.status() == registry.Healthy || m.status() == registry.Degraded)
}

func TestLifecycleAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := t0
		var m model
		var current *registry.Record
		registration := func() registry.Registration {
			reg := seed()
			reg.HealthCheck = registry.HealthCheck{Enabled: rapid.Bool().Draw(t, "check")}
			reg.Endpoints[0].URL = rapid.SampledFrom([]string{"https://a", "https://b"}).Draw(t, "url")
			reg.Version = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "version")
			reg.Lease = registry.Duration(time.Duration(rapid.SampledFrom([]int{0, 10, 60}).Draw(t, "lease")) * time.Second)
			return reg.WithDefaults()
		}
		renew := func() {
			if m.leaseSecond > 0 {
				m.ends = now.Add(time.Duration(m.leaseSecond) * time.Second)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"register": func(t *rapid.T) {
				reg := registration()
				before := current
				next, outcome, err := registry.Register(current, reg, now)
				if err != nil {
					t.Fatal(err)
				}
				lapsed := m.exists && m.lapsed(now)
				switch {
				case !m.exists:
					m = model{exists: true}
				case m.taken == registry.Maintenance || m.taken == registry.Quarantined:
					if m.check != reg.HealthCheck.Enabled || m.endpoint != reg.Endpoints[0].URL {
						m.verdict = ""
					}
				case m.taken == registry.Stopping || lapsed || m.check != reg.HealthCheck.Enabled || m.endpoint != reg.Endpoints[0].URL:
					m.taken, m.verdict = "", ""
				}
				m.check, m.endpoint, m.leaseSecond = reg.HealthCheck.Enabled, reg.Endpoints[0].URL, int(reg.Lease.Std()/time.Second)
				renew()
				same := before != nil && before.Registration.Equal(reg) && before.Status == m.status() && before.StatusSince.Equal(next.StatusSince)
				if (outcome == registry.Created) != (before == nil) || before != nil && (outcome == registry.Unchanged) != same {
					t.Fatalf("outcome %s of registering %+v over %+v", outcome, reg, before)
				}
				current = &next
			},
			"heartbeat": func(t *rapid.T) {
				if current == nil {
					return
				}
				next, effect := registry.Heartbeat(*current, now)
				remaining := m.ends.Sub(now)
				switch {
				case m.leaseSecond == 0 || remaining > time.Duration(m.leaseSecond)*time.Second/2:
					if effect != registry.Nothing {
						t.Fatalf("effect %d with %v left of %d s", effect, remaining, m.leaseSecond)
					}
				default:
					if m.lapsed(now) && m.taken == "" {
						m.verdict = ""
					} else if effect == registry.All {
						t.Fatalf("a heartbeat changed the record of an instance that is %s", m.status())
					}
					renew()
				}
				current = &next
			},
			"patch": func(t *rapid.T) {
				if current == nil {
					return
				}
				to := rapid.SampledFrom([]registry.Status{registry.Starting, registry.Maintenance, registry.Stopping}).Draw(t, "to")
				role := rapid.SampledFrom([]registry.Role{registry.Owner, registry.Operator}).Draw(t, "role")
				next, _, err := registry.Patch{Status: to}.Apply(*current, role, now)
				switch {
				case m.taken == registry.Quarantined:
					if !errors.Is(err, registry.ErrTransition) {
						t.Fatalf("%s out of quarantine to %s: %v", role, to, err)
					}
				case err != nil:
					t.Fatal(err)
				case to == registry.Starting:
					m.taken, m.verdict = "", ""
				default:
					m.taken, m.verdict = to, ""
				}
				current = &next
			},
			"unregister": func(t *rapid.T) {
				if current == nil {
					return
				}
				err := registry.Unregister(*current, registry.Owner)
				if errors.Is(err, registry.ErrTransition) != (m.taken == registry.Quarantined) {
					t.Fatalf("unregister while %s: %v", m.status(), err)
				}
				if err == nil {
					m, current = model{}, nil
				}
			},
			"verdict": func(t *rapid.T) { // never over a decision, nor of what nobody wants to have probed
				if current == nil {
					return
				}
				v := registry.Verdict{Status: rapid.SampledFrom(registry.Statuses()).Draw(t, "verdict"), Reason: "a probe"}
				next, effect, err := v.Apply(*current, now)
				known := v.Status == registry.Healthy || v.Status == registry.Degraded || v.Status == registry.Unhealthy
				if errors.Is(err, registry.ErrTransition) != (m.taken != "" || !known) {
					t.Fatalf("verdict %s on one that is %s: %v", v.Status, m.status(), err)
				}
				if err == nil && m.check && !m.lapsed(now) {
					m.verdict = v.Status
				}
				if changed := next.Status != current.Status; changed != (effect == registry.All) || changed && next.StatusReason != "a probe" {
					t.Fatalf("effect %d from %+v to %+v", effect, current, next)
				}
				if next.LeaseEnd != current.LeaseEnd || !next.Registration.Equal(current.Registration) {
					t.Fatal("a verdict changed more than the status")
				}
				current = &next
			},
			"quarantine": func(*rapid.T) {
				if current == nil {
					return
				}
				m.taken, m.verdict = registry.Quarantined, ""
				next := *current
				next.Status, next.StatusSince, next.StatusReason = registry.Quarantined, now, ""
				current = &next
			},
			"tick": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				if (current != nil) != m.exists {
					t.Fatalf("record is there: %t, model says %t", current != nil, m.exists)
				}
				if current == nil {
					return
				}
				serves := !current.Lapsed(now) && (current.Status == registry.Healthy || current.Status == registry.Degraded)
				if current.Status != m.status() || current.Lapsed(now) != m.lapsed(now) || serves != m.discoverable(now) {
					t.Fatalf("record is %s, lapsed %t; model says %s, %t", current.Status, current.Lapsed(now), m.status(), m.lapsed(now))
				}
				if current.Lease != 0 && !current.LeaseEnd.Equal(m.ends) {
					t.Fatalf("the lease ends at %v, model says %v", current.LeaseEnd, m.ends)
				}
				if current.StatusReason != "" && m.verdict != current.Status {
					t.Fatalf("%s because of %q", current.Status, current.StatusReason)
				}
				if current.StatusSince.After(now) || current.RegisteredAt.After(current.StatusSince) {
					t.Fatalf("registered at %v, %s since %v, at %v", current.RegisteredAt, current.Status, current.StatusSince, now)
				}
			},
		})
	})
}
