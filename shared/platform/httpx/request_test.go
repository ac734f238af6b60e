package httpx_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

func TestParseTraceparent(t *testing.T) {
	t.Parallel()
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, tt := range []struct {
		name, in    string
		ok, sampled bool
	}{
		{"sampled", "00-" + trace + "-" + span + "-01", true, true},
		{"not sampled", "00-" + trace + "-" + span + "-00", true, false},
		{"other flags", "00-" + trace + "-" + span + "-fe", true, false},
		{"later version with more", "cc-" + trace + "-" + span + "-01-what", true, true},
		{"later version without", "cc-" + trace + "-" + span + "-01", true, true},
		{"version 0 with more", "00-" + trace + "-" + span + "-01-what", false, false},
		{"later version with more, not set off", "cc-" + trace + "-" + span + "-01.what", false, false},
		{"version ff", "ff-" + trace + "-" + span + "-01", false, false},
		{"upper case", "00-" + strings.ToUpper(trace) + "-" + span + "-01", false, false},
		{"zero trace", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", false, false},
		{"zero span", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"short", "00-" + trace + "-" + span + "-0", false, false},
		{"empty", "", false, false},
		{"no hex", "00-" + trace[:31] + "g-" + span + "-01", false, false},
		{"dashes elsewhere", strings.Repeat("-", 55), false, false},
		{"flags", "00-" + trace + "-" + span + "-0x", false, false},
	} {
		gotTrace, gotSpan, sampled := httpx.ParseTraceparent(tt.in)
		wantTrace, wantSpan := "", ""
		if tt.ok {
			wantTrace, wantSpan = trace, span
		}
		if gotTrace != wantTrace || gotSpan != wantSpan || sampled != tt.sampled {
			t.Errorf("%s: %q %q %v", tt.name, gotTrace, gotSpan, sampled)
		}
	}
}

var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$`)

func FuzzTraceparent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
	f.Add("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		trace, span, sampled := httpx.ParseTraceparent(s)
		if trace == "" {
			if span != "" || sampled {
				t.Fatalf("%q: refused, with span %q, sampled %v", s, span, sampled)
			}
			return
		}
		if !traceparent.MatchString(strings.ReplaceAll(s, "\n", " ")) || len(trace) != 32 || len(span) != 16 || !strings.Contains(s, trace+"-"+span) {
			t.Fatalf("%q gives %q and %q", s, trace, span)
		}
	})
}
