package plugin

import (
	"fmt"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/prometheus/client_golang/prometheus"
)

// unknownStep is the label of calls for steps that do not exist: a label value must not come from outside.
const unknownStep = "unknown"

type metrics struct {
	calls         *prometheus.CounterVec
	durations     *prometheus.HistogramVec
	cancellations *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer, running func() int) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "argosy_plugin_calls_total",
			Help: "Calls of Argo, by step and by the phase that was answered.",
		}, []string{"step", "phase"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "argosy_plugin_run_duration_seconds",
			Help:    "How long the work behind a step took, by step and by the phase in which it ended.",
			Buckets: []float64{0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1200},
		}, []string{"step", "phase"}),
		cancellations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "argosy_plugin_cancellations_total",
			Help: "Calls whose work was cancelled because the workflow no longer wants it, and runs left to the " +
				"next plugin on shutdown.",
		}, []string{"cause"}),
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "argosy_plugin_runs",
		Help: "Runs in progress.",
	}, func() float64 { return float64(running()) })
	for _, collector := range []prometheus.Collector{m.calls, m.durations, m.cancellations, gauge} {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) finished(step string, phase wfv1.NodePhase, took time.Duration) {
	m.durations.WithLabelValues(step, string(phase)).Observe(took.Seconds())
}
