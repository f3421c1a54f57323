package plugin

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// cancelWatcher cancels runs whose workflow no longer wants them. Argo tells a plugin nothing about cancellation, so
// each workflow that waits for a run is observed again and again.
type cancelWatcher struct {
	observer  observer // nil: nothing is ever cancelled
	runs      *runs
	interval  time.Duration
	cancelled prometheus.Counter
	log       *slog.Logger
	lastError atomic.Pointer[string] // of the observer, so that the same error is logged once
}

// watch cancels unwanted runs in each interval until ctx ends.
func (c *cancelWatcher) watch(ctx context.Context) {
	if c.observer == nil {
		return
	}
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.cancelUnwanted(ctx)
		}
	}
}

// cancelUnwanted observes each workflow that waits for a run once, and cancels the runs that it no longer wants.
func (c *cancelWatcher) cancelUnwanted(ctx context.Context) {
	if c.observer == nil {
		return
	}
	for workflow, calls := range c.runs.waiting() {
		seen := c.observe(ctx, workflow)
		for id, call := range calls {
			reason, cancelled := seen.cancelled(call)
			if cancelled && c.runs.cancel(id, reason) {
				c.cancelled.Inc()
				c.log.With(call.attributes()...).Info("cancelled", "reason", reason)
			}
		}
	}
}

// staysCancelled reports whether a cancelled call is still unwanted. If the workflow cannot be observed, it is.
func (c *cancelWatcher) staysCancelled(ctx context.Context, call Call) bool {
	if c.observer == nil {
		return false
	}
	ctx, stop := context.WithTimeout(ctx, observeTimeout)
	defer stop()
	seen, err := c.observer.observe(ctx, call.Workflow)
	if err != nil {
		return true
	}
	_, cancelled := seen.cancelled(call)
	return cancelled
}

// mayCall reports whether the agent in our pod may still ask about steps of workflow: it does not once the workflow is
// over. If the workflow cannot be observed, it may.
func (c *cancelWatcher) mayCall(ctx context.Context, workflow *Workflow) bool {
	if workflow == nil || c.observer == nil {
		return false
	}
	return !c.observe(ctx, *workflow).over()
}

// observeTimeout bounds one observation; it is below every timeout that waits for one.
const observeTimeout = 5 * time.Second

// observe returns the state of a workflow. The part that was read before an error still counts; an error alone never
// cancels anything.
func (c *cancelWatcher) observe(ctx context.Context, workflow Workflow) observation {
	ctx, stop := context.WithTimeout(ctx, observeTimeout)
	defer stop()
	seen, err := c.observer.observe(ctx, workflow)
	if err == nil {
		c.lastError.Store(nil)
		return seen
	}
	text := err.Error()
	if previous := c.lastError.Swap(&text); previous == nil || *previous != text {
		c.log.Warn("cancellation is not noticed", "workflow", workflow.Name, "namespace", workflow.Namespace, "error",
			text)
	}
	return seen
}
