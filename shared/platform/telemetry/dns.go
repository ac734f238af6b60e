package telemetry

import "github.com/prometheus/client_golang/prometheus"

func newDNSMetrics(registry *prometheus.Registry) *prometheus.CounterVec {
	changes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "dns_changes_total", Help: "Names of the DNS zone brought in step with the registry, by what became of it.",
	}, []string{"result"})
	registry.MustRegister(changes)
	return changes
}

// DNSChange counts what became of a name of the zone: applied, unchanged, conflict, unavailable, failed, or foreign for
// records that others hold.
func (m *Metrics) DNSChange(result string) {
	m.dns.WithLabelValues(bounded(result, "applied", "unchanged", "conflict", "unavailable", "failed", "foreign")).Inc()
}
