package plugin

import (
	"context"
	"time"
)

// watchCancellation looks after cancellation until ctx ends.
func (s *Server) watchCancellation(ctx context.Context) {
	if s.observer == nil {
		return
	}
	ticker := time.NewTicker(s.timing.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.cancelUnwanted(ctx)
		}
	}
}

// cancelUnwanted observes each workflow that waits for a run, once, and cancels what it no longer wants.
func (s *Server) cancelUnwanted(ctx context.Context) {
	if s.observer == nil {
		return
	}
	for workflow, calls := range s.runs.waiting() {
		seen := s.observe(ctx, workflow)
		for id, call := range calls {
			reason, cancelled := seen.cancelled(call)
			if cancelled && s.runs.cancel(id, reason) {
				s.metrics.cancellations.WithLabelValues("cancelled").Inc()
				s.log.With(call.attributes()...).Info("cancelled", "reason", reason)
			}
		}
	}
}

// stillUnwanted is asked before a cancelled call is taken up again. When there is no telling, it stays cancelled.
func (s *Server) stillUnwanted(ctx context.Context, call Call) bool {
	if s.observer == nil {
		return false
	}
	ctx, stop := context.WithTimeout(ctx, observeTimeout)
	defer stop()
	seen, err := s.observer.observe(ctx, call.Workflow)
	if err != nil {
		return true
	}
	_, cancelled := seen.cancelled(call)
	return cancelled
}

// stillCalled says whether the agent beside us may still have a use for an answer: not when its workflow is over, or
// when it never called. When there is no telling, it may.
func (s *Server) stillCalled(ctx context.Context) bool {
	workflow := s.last.Load()
	if workflow == nil || s.observer == nil {
		return false
	}
	return !s.observe(ctx, *workflow).over()
}

// observeTimeout bounds one observation; below every timeout that waits for it.
const observeTimeout = 5 * time.Second

// observe asks the observer. What it saw before an error still counts; an error alone never cancels anything.
func (s *Server) observe(ctx context.Context, workflow Workflow) observation {
	ctx, stop := context.WithTimeout(ctx, observeTimeout)
	defer stop()
	seen, err := s.observer.observe(ctx, workflow)
	if err == nil {
		s.trouble.Store(nil)
		return seen
	}
	text := err.Error()
	if previous := s.trouble.Swap(&text); previous == nil || *previous != text {
		s.log.Warn("cancellation is not noticed", "workflow", workflow.Name, "namespace", workflow.Namespace, "error",
			text)
	}
	return seen
}
