package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// requestMetrics counts the requests to API servers, under the names that Kubernetes' own components have for them.
type requestMetrics struct {
	results *prometheus.CounterVec
	waits   *prometheus.HistogramVec
}

// Increment counts one answer.
func (m requestMetrics) Increment(_ context.Context, code, method, host string) {
	m.results.WithLabelValues(code, method, host).Inc()
}

// Observe takes the time that a request waited for its turn in the client's rate limiter.
func (m requestMetrics) Observe(_ context.Context, verb string, u url.URL, waited time.Duration) {
	m.waits.WithLabelValues(verb, u.Host).Observe(waited.Seconds())
}

// showRequests has registry show the requests of all clients of this process to API servers. client-go takes one
// registration per process.
func showRequests(registry prometheus.Registerer) error {
	m := requestMetrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rest_client_requests_total",
			Help: "Requests to API servers, by status code, method and host.",
		}, []string{"code", "method", "host"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rest_client_rate_limiter_duration_seconds",
			Help:    "How long requests waited in the client's rate limiter, by verb and host.",
			Buckets: []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60},
		}, []string{"verb", "host"}),
	}
	for _, collector := range []prometheus.Collector{m.results, m.waits} {
		if err := registry.Register(collector); err != nil {
			return fmt.Errorf("registering the metrics of requests: %w", err)
		}
	}
	metrics.Register(metrics.RegisterOpts{RequestResult: m, RateLimiterLatency: m})
	return nil
}
