package telemetry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/telemetry"
)

func TestEventMetrics(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	f := m.ForFunction("RegisterCommand", "com.isectech.registry.register.v1")
	f.ObserveEvent("com.isectech.registry.register.v1", "handled", 2*time.Millisecond)
	f.ObserveEvent("", "handled", 0)
	for i := range 100 { // what a sender can choose must not make a new series each time
		f.ObserveEvent(fmt.Sprint("type", i), fmt.Sprint("result ", i), 0)
	}
	var got []string
	for line := range strings.Lines(exposition(t, m)) {
		if strings.HasPrefix(line, "events_total{") || strings.HasPrefix(line, "event_duration_seconds_count") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`event_duration_seconds_count{function="RegisterCommand"} 102`,
		`events_total{function="RegisterCommand",result="handled",type="com.isectech.registry.register.v1"} 1`,
		`events_total{function="RegisterCommand",result="handled",type="message"} 1`,
		`events_total{function="RegisterCommand",result="other",type="other"} 100`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var none *telemetry.FunctionMetrics
	none.ObserveEvent("x", "handled", 0)
}
