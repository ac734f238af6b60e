package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Job is the job label of the up metric.
const Job = "isectech-services"

// Metrics are the platform's metrics, in a registry of their own. Their names and labels are fixed: alerts
// and dashboards are written against them.
//
// The label service is bounded by whoever passes it: it must be a service that the policy or the
// configuration knows, never a name out of a request. All other labels are bounded here.
type Metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	auth       *prometheus.CounterVec
	discovery  *prometheus.CounterVec
	handshakes *prometheus.HistogramVec
	expiry     *prometheus.GaugeVec
	up         *prometheus.GaugeVec
	success    *prometheus.GaugeVec
	redis      *prometheus.CounterVec
	events     *eventMetrics
	security   *securityMetrics
	dns        *prometheus.CounterVec
	records    *registryMetrics
}

// NewMetrics returns metrics that have counted nothing.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "HTTP requests answered.",
		}, []string{"service", "method", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_duration_seconds", Help: "Time from a request's arrival to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"service", "method"}),
		auth: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "service_auth_attempts_total", Help: "Attempts of a service to authenticate, by the method used.",
		}, []string{"service", "method", "result"}),
		discovery: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "service_discovery_queries_total", Help: "Look-ups in the registry.",
		}, []string{"service", "result"}),
		handshakes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tls_handshake_duration_seconds", Help: "Duration of TLS handshakes.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"service"}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "certificate_expiry_days", Help: "Days until the certificate in use ends.",
		}, []string{"service", "cert_type"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "up", Help: "1 while a service answers, 0 while it does not.",
		}, []string{"job", "service"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "last_success_timestamp_seconds", Help: "When a scheduled job last succeeded, in Unix seconds.",
		}, []string{"job"}),
		redis: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "redis_calls_total", Help: "Calls to Redis, by operation and what became of them.",
		}, []string{"op", "result"}),
	}
	m.registry.MustRegister(m.requests, m.durations, m.auth, m.discovery, m.handshakes, m.expiry, m.up, m.success, m.redis)
	m.events = newEventMetrics(m.registry)
	m.security = newSecurityMetrics(m.registry)
	m.dns = newDNSMetrics(m.registry)
	m.records = newRegistryMetrics(m.registry)
	return m
}

// Handler serves the metrics in Prometheus' text form.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}

// SetUp records whether a service answers.
func (m *Metrics) SetUp(service string, up bool) {
	v := 0.0
	if up {
		v = 1
	}
	m.up.WithLabelValues(Job, service).Set(v)
}

// Succeeded records that a scheduled job has succeeded at a time.
func (m *Metrics) Succeeded(job string, at time.Time) {
	m.success.WithLabelValues(job).Set(float64(at.UnixMilli()) / 1000)
}

// RedisCall counts a call to Redis: its operation and its result, both of the client's own few.
func (m *Metrics) RedisCall(op, result string) { m.redis.WithLabelValues(op, result).Inc() }

// CertificateExpiry records how long a certificate in use still lasts; its type is server, client or ca.
func (m *Metrics) CertificateExpiry(service, certType string, left time.Duration) {
	m.expiry.WithLabelValues(service, bounded(certType, "server", "client", "ca")).Set(left.Hours() / 24)
}

// ForService returns the metrics of one service.
func (m *Metrics) ForService(service string) *ServiceMetrics {
	return &ServiceMetrics{metrics: m, service: service}
}

// ServiceMetrics count what one service does. A nil one counts nothing.
type ServiceMetrics struct {
	metrics *Metrics
	service string

	// Looking a series up by its labels takes longer than counting in it, so each is looked up once.
	requests  series[requestLabels, prometheus.Counter]
	durations series[string, prometheus.Observer]
	attempts  series[attemptLabels, prometheus.Counter]
}

type requestLabels struct {
	method string
	status int // 0: none of HTTP's
}

type attemptLabels struct{ method, result string }

// ObserveRequest counts an answered request; an unknown method is counted as "other".
func (s *ServiceMetrics) ObserveRequest(method string, status int, took time.Duration) {
	if s == nil {
		return
	}
	method = bounded(method, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace)
	if status < 100 || status > 599 {
		status = 0
	}
	s.requests.of(requestLabels{method, status}, s.requestSeries).Inc()
	s.durations.of(method, s.durationSeries).Observe(took.Seconds())
}

func (s *ServiceMetrics) requestSeries(l requestLabels) prometheus.Counter {
	code := "other"
	if l.status != 0 {
		code = strconv.Itoa(l.status)
	}
	return s.metrics.requests.WithLabelValues(s.service, l.method, code)
}

func (s *ServiceMetrics) durationSeries(method string) prometheus.Observer {
	return s.metrics.durations.WithLabelValues(s.service, method)
}

// AuthAttempt counts an attempt to authenticate with a method (jwt, api_key, mtls, none) and its result
// (allowed or the reason it was refused for).
func (s *ServiceMetrics) AuthAttempt(method, result string) {
	if s != nil {
		s.attempts.of(attemptLabels{bounded(method, "jwt", "api_key", "mtls", "none"), word(result)}, s.attemptSeries).Inc()
	}
}

func (s *ServiceMetrics) attemptSeries(l attemptLabels) prometheus.Counter {
	return s.metrics.auth.WithLabelValues(s.service, l.method, l.result)
}

// DiscoveryQuery counts a look-up in the registry and its result: hit, miss, stale or error.
func (s *ServiceMetrics) DiscoveryQuery(result string) {
	if s != nil {
		s.metrics.discovery.WithLabelValues(s.service, bounded(result, "hit", "miss", "stale", "error")).Inc()
	}
}

// TLSHandshake records the duration of a handshake.
func (s *ServiceMetrics) TLSHandshake(took time.Duration) {
	if s != nil {
		s.metrics.handshakes.WithLabelValues(s.service).Observe(took.Seconds())
	}
}

// bounded returns value if it is among those known, otherwise "other".
func bounded(value string, known ...string) string {
	for _, k := range known {
		if value == k {
			return value
		}
	}
	return "other"
}

// word returns value if it has the form of a code of ours, which come from code and not from requests,
// otherwise "other".
func word(value string) string {
	if value == "" || len(value) > 32 {
		return "other"
	}
	for i := range len(value) {
		if c := value[i]; (c < 'a' || c > 'z') && c != '_' {
			return "other"
		}
	}
	return value
}
