package telemetry

import "github.com/prometheus/client_golang/prometheus"

// securityMetrics are the metrics of what is noticed about callers.
type securityMetrics struct {
	total   *prometheus.CounterVec
	reports *prometheus.CounterVec
	limits  *prometheus.CounterVec
}

func newSecurityMetrics(registry *prometheus.Registry) *securityMetrics {
	m := &securityMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "security_events_total", Help: "Security incidents noticed, by type and severity.",
		}, []string{"type", "severity"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "security_reports_total", Help: "Security incidents by what became of their events.",
		}, []string{"result"}),
		limits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rate_limit_checks_total", Help: "Requests counted against a rate limit, by where they are counted: shared by all instances, or alone.",
		}, []string{"scope"}),
	}
	registry.MustRegister(m.total, m.reports, m.limits)
	return m
}

// SecurityEvent counts an incident of a kind and severity of ours.
func (m *Metrics) SecurityEvent(kind, severity string) {
	m.security.total.WithLabelValues(word(kind), bounded(severity, "critical", "high", "medium", "low")).Inc()
}

// SecurityReport counts what became of an incident's event: published, repeated, held or failed.
func (m *Metrics) SecurityReport(result string) {
	m.security.reports.WithLabelValues(bounded(result, "published", "repeated", "held", "failed")).Inc()
}

// RateLimitCheck counts a request that was counted against a rate limit, in what all instances share or in this
// one alone.
func (m *Metrics) RateLimitCheck(shared bool) {
	scope := "alone"
	if shared {
		scope = "shared"
	}
	m.security.limits.WithLabelValues(scope).Inc()
}
