package registry_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/registry"
)

// lifecycleTable is the table of who may ask for which status, as docs/registry.md has it.
func lifecycleTable() string {
	var b strings.Builder
	b.WriteString("| an instance that is | ")
	for _, role := range registry.Roles() {
		b.WriteString(role.String() + " | ")
	}
	b.WriteString("\n|---|---|---|---|---|\n")
	for _, from := range registry.Statuses() {
		b.WriteString("| `" + string(from) + "` | ")
		for _, role := range registry.Roles() {
			var may []string
			for _, to := range registry.Statuses() {
				if registry.MayCause(role, from, to) && from != to {
					may = append(may, "`"+string(to)+"`")
				}
			}
			if registry.MayCause(role, from, "") {
				may = append(may, "its end")
			}
			if may == nil {
				may = []string{"–"}
			}
			b.WriteString(strings.Join(may, ", ") + " | ")
		}
		b.WriteString("\n")
	}
	return strings.ReplaceAll(b.String(), " | \n", " |\n")
}

func TestLifecycleTableIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/registry.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := lifecycleTable(); !strings.Contains(string(page), table) {
		t.Errorf("docs/registry.md does not have the table of transitions:\n%s", table)
	}
}

// What the table must never allow, whoever edits it.
func TestLifecycleTableKeepsDecisions(t *testing.T) {
	t.Parallel()
	for _, from := range registry.Statuses() {
		for _, to := range append(registry.Statuses(), "") {
			decided := from == registry.Maintenance || from == registry.Stopping || from == registry.Quarantined
			if registry.MayCause(registry.Prober, from, to) && (decided || to == "" || to == registry.Starting) {
				t.Errorf("a probe may turn %s into %q", from, to)
			}
			for _, role := range []registry.Role{registry.Owner, registry.Operator} {
				if registry.MayCause(role, from, to) && (to == registry.Healthy || to == registry.Degraded || to == registry.Unhealthy || to == registry.Quarantined) {
					t.Errorf("an %s may say that an instance is %s", role, to)
				}
			}
			if registry.MayCause(registry.Owner, registry.Quarantined, to) {
				t.Errorf("an owner may turn quarantine into %q", to)
			}
			if registry.MayCause(registry.Incident, from, to) && from != registry.Quarantined && to != registry.Quarantined {
				t.Errorf("incident response may turn %s into %q", from, to)
			}
		}
	}
}

func TestVerdictDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		current func(*registry.Record)
		verdict registry.Status
		at      float64
		effect  registry.Effect
		status  registry.Status
		refused bool
	}{
		{"proven", nil, registry.Healthy, 10, registry.All, registry.Healthy, false},
		{"failed", status(registry.Healthy), registry.Unhealthy, 10, registry.All, registry.Unhealthy, false},
		{"still healthy", status(registry.Healthy), registry.Healthy, 10, registry.Nothing, registry.Healthy, false},
		{"back", status(registry.Unhealthy), registry.Degraded, 10, registry.All, registry.Degraded, false},
		{"no verdict", status(registry.Healthy), registry.Starting, 10, registry.Nothing, registry.Healthy, true},
		{"no status", status(registry.Healthy), "", 10, registry.Nothing, registry.Healthy, true},
		{"in maintenance", status(registry.Maintenance), registry.Healthy, 10, registry.Nothing, registry.Maintenance, true},
		{"stopping", status(registry.Stopping), registry.Unhealthy, 10, registry.Nothing, registry.Stopping, true},
		{"in quarantine", status(registry.Quarantined), registry.Healthy, 10, registry.Nothing, registry.Quarantined, true},
		{"lapsed", status(registry.Unhealthy), registry.Healthy, 90, registry.Nothing, registry.Unhealthy, false},
		{"unchecked", func(r *registry.Record) { r.Status, r.HealthCheck.Enabled = registry.Healthy, false }, registry.Unhealthy, 10, registry.Nothing, registry.Healthy, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			current := registered(tt.current)
			next, effect, err := registry.Verdict{Status: tt.verdict, Reason: "GET /health: 500"}.Apply(current, at(tt.at))
			if effect != tt.effect || next.Status != tt.status || errors.Is(err, registry.ErrTransition) != tt.refused {
				t.Errorf("effect %d, status %s, error %v; want %d, %s, refused %t", effect, next.Status, err, tt.effect, tt.status, tt.refused)
			}
			want := current
			if want.Status = tt.status; effect == registry.All {
				want.StatusSince, want.StatusReason = at(tt.at), "GET /health: 500"
			}
			if diff := cmp.Diff(want, next); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLateRegistrationKeepsALongerLease(t *testing.T) {
	t.Parallel()
	current := registered(nil)
	beaten, _ := registry.Heartbeat(current, at(80))
	newer := seed()
	newer.Version = "9"
	next, outcome, err := registry.Register(&beaten, newer, at(40))
	if err != nil || outcome != registry.Updated || !next.LeaseEnd.Equal(at(170)) {
		t.Errorf("%s %v, lease until %v", outcome, err, next.LeaseEnd)
	}
	newer.Lease = registry.Duration(10 * time.Second)
	if next, _, _ = registry.Register(&beaten, newer, at(81)); !next.LeaseEnd.Equal(at(91)) {
		t.Errorf("a shorter lease lasts until %v", next.LeaseEnd)
	}
}
