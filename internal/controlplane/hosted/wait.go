package hosted

import (
	"context"
	"errors"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// pollInterval is the time between two checks of a condition.
const pollInterval = 150 * time.Millisecond

// Wait calls check until it returns no reason to wait, for at most the fleet's controlPlane.timeout. Each new reason is
// reported. A transient error of check counts as a reason. When the time is up the error begins with unmet, the
// negation of the condition (`StatefulSet "a" not rolled out`), and ends with the last reason.
func (c Cluster) Wait(ctx context.Context, unmet string, report func(string),
	check func(context.Context) (reason string, err error),
) error {
	limit := c.Fleet.ControlPlane.Timeout.Duration
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	last := ""
	for {
		reason, err := check(ctx)
		if err != nil && ctx.Err() == nil && !errclass.IsTransient(err) {
			return err
		}
		if err == nil && reason == "" {
			return nil
		}
		if err != nil && reason == "" {
			reason = err.Error()
		}
		// An error that comes of the wait's end is no reason.
		if reason != last && (err == nil || ctx.Err() == nil) {
			last = reason
			report(reason)
		}
		select {
		case <-ctx.Done():
			return timedOut(ctx, unmet, limit, strings.TrimSpace(last))
		case <-ticker.C:
		}
	}
}

// timedOut returns the error at the end of a wait: the caller's cancellation, or the limit with the last reason.
func timedOut(ctx context.Context, unmet string, limit time.Duration, reason string) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
		return errclass.With(errclass.Cancelled, cause)
	}
	return errclass.Errorf(errclass.Permanent, "%s after %s: %s; repair that, or raise controlPlane.timeout in "+
		"argosy.yaml, and submit again to continue from here", unmet, limit, reason)
}

// Prefixed returns a report that puts prefix before each line.
func Prefixed(report func(string), prefix string) func(string) {
	return func(line string) { report(prefix + line) }
}
