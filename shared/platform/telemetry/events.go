package telemetry

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// eventMetrics are the metrics of the functions that handle events.
type eventMetrics struct {
	total     *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

func newEventMetrics(registry *prometheus.Registry) *eventMetrics {
	m := &eventMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "events_total", Help: "Events delivered to a function, by what became of them.",
		}, []string{"function", "type", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "event_duration_seconds", Help: "Time that a function took for an event.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
		}, []string{"function"}),
	}
	registry.MustRegister(m.total, m.durations)
	return m
}

// ForFunction returns the metrics of one function. Types are those of the events that are counted by
// their name; all others are "other", and an event without one is "message".
func (m *Metrics) ForFunction(function string, types ...string) *FunctionMetrics {
	return &FunctionMetrics{m.events, function, slices.Clone(types)}
}

// FunctionMetrics count the events that one function is given. A nil one counts nothing.
type FunctionMetrics struct {
	metrics  *eventMetrics
	function string
	types    []string
}

// ObserveEvent counts an event, its result (handled, or the word for why not) and the time it took.
func (f *FunctionMetrics) ObserveEvent(eventType, result string, took time.Duration) {
	if f == nil {
		return
	}
	if eventType == "" {
		eventType = "message"
	} else {
		eventType = bounded(eventType, f.types...)
	}
	f.metrics.total.WithLabelValues(f.function, eventType, word(result)).Inc()
	f.metrics.durations.WithLabelValues(f.function).Observe(took.Seconds())
}
