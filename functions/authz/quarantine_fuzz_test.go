package authz

import (
	"encoding/json"
	"testing"
	"time"
)

// Whatever is said about a quarantine's end, it is refused or lies in the future, within bounds.
func FuzzQuarantineEnd(f *testing.F) {
	for _, s := range []string{`"4h"`, `"2026-01-04T12:00:01Z"`, `"2026-01-04T13:00:01+01:00"`, `1`, `-1`, `1e3`, `9223372036854775807`, `null`, `""`, `{}`, `"-1h"`} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		var q quarantineRequest
		if json.Unmarshal([]byte(s), &q.Expires) != nil {
			return
		}
		end, err := q.end(now)
		if err != nil || end.IsZero() {
			return
		}
		if !end.After(now) || end.Sub(now) > maxQuarantine || end.Location() != time.UTC || !end.Equal(end.Truncate(time.Microsecond)) {
			t.Errorf("%s is %v", s, end)
		}
	})
}
