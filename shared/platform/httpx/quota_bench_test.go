package httpx_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

// Every decision tells its caller how it stands.
func BenchmarkQuota(b *testing.B) {
	h := http.Header{}
	q := httpx.Quota{Policy: "default", Limit: 1000, Window: time.Minute, Remaining: 12, Reset: 34 * time.Second}
	b.ReportAllocs()
	for b.Loop() {
		q.SetStanding(h)
	}
}
