package plugin

import (
	"log/slog"
	"time"

	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"github.com/prometheus/client_golang/prometheus"
)

// Options configure a Server. Every field but Steps has a default.
type Options struct {
	// Steps are the steps that templates can name.
	Steps []Step
	// Release of the program, which messages about templates of another one name. Default: they name none.
	Release string
	// Argo reads Workflows and their task sets, to see whether work is still wanted; it needs get on both. Nil: nothing
	// is ever cancelled.
	Argo versioned.Interface
	// Address to listen on. Default 127.0.0.1:14500, which only the agent's own pod reaches; the port is the one in
	// plugin.yaml. Listen on all addresses to let Prometheus scrape the pod.
	Address string
	// TokenFile holds the agent's bearer token. It is read for every call. Default /var/run/argo/token.
	TokenFile string
	// Log receives structured lines. Default: they are discarded.
	Log *slog.Logger
	// Registry holds the metrics that /metrics serves. Default: one of its own.
	Registry *prometheus.Registry
	Timing   Timing
}

// Timing bounds waiting; a zero field has its default.
type Timing struct {
	// Wait is how long a call waits for its run, so that short work needs one call. Default 1.5 s. Argo gives up
	// after 30 s, and its agent has 16 workers for all steps of a workflow.
	Wait time.Duration
	// Requeue is the time until Argo calls again during the first LateAfter of a run, RequeueLate later on. Defaults 1
	// s, 3 s and 30 s.
	Requeue     time.Duration
	RequeueLate time.Duration
	LateAfter   time.Duration
	// Poll is the interval at which workflows with runs are observed for cancellation. Default 2 s.
	Poll time.Duration
	// Grace bounds shutting down. Default 25 s; it must be below the pod's 30, by less than 15.
	Grace time.Duration
	// Remember is how long answers are kept for repeated calls. Default 5 min.
	Remember time.Duration
}

const (
	defaultAddress   = "127.0.0.1:14500"
	defaultTokenFile = "/var/run/argo/token"
	// maxWaiting is how many calls may wait at the same time; half the agent's workers, so that steps which start are
	// not kept behind steps which go on. Further calls are answered at once.
	maxWaiting = 8
)

func (o Options) withDefaults() Options {
	if o.Address == "" {
		o.Address = defaultAddress
	}
	if o.TokenFile == "" {
		o.TokenFile = defaultTokenFile
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	o.Timing = o.Timing.withDefaults()
	return o
}

func (t Timing) withDefaults() Timing {
	defaults := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Wait, 1500 * time.Millisecond},
		{&t.Requeue, time.Second},
		{&t.RequeueLate, 3 * time.Second},
		{&t.LateAfter, 30 * time.Second},
		{&t.Poll, 2 * time.Second},
		{&t.Grace, 25 * time.Second},
		{&t.Remember, 5 * time.Minute},
	}
	for _, d := range defaults {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return t
}
