package telemetry

import "github.com/prometheus/client_golang/prometheus"

type registryMetrics struct {
	watchers *prometheus.GaugeVec // without labels: so they show only where there has been anything to count
	removed  *prometheus.CounterVec
}

func newRegistryMetrics(registry *prometheus.Registry) *registryMetrics {
	m := &registryMetrics{
		watchers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "registry_watchers", Help: "Requests that wait for changes of the registry in this process.",
		}, nil),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registry_lapsed_removed_total", Help: "Records removed because their lease ended long ago.",
		}, nil),
	}
	registry.MustRegister(m.watchers, m.removed)
	return m
}

// Watching counts a watcher until the function that it returns is called.
func (m *Metrics) Watching() (done func()) {
	watchers := m.records.watchers.WithLabelValues()
	watchers.Inc()
	return watchers.Dec
}

// LapsedRemoved counts records that were removed because their lease ended long ago.
func (m *Metrics) LapsedRemoved(records int) {
	m.records.removed.WithLabelValues().Add(float64(records))
}
