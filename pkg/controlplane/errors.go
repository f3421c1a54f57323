package controlplane

import (
	"context"
	"errors"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

func transient(err error) bool { return errclass.IsTransient(err) }

// notInTime is the end of a wait: the cancellation of the caller, or our own limit with what was missing last.
func notInTime(ctx context.Context, limit time.Duration, missing string) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
		return errclass.With(errclass.Cancelled, cause)
	}
	return errclass.Errorf(errclass.Permanent, "it was not ready within %s (controlPlane.timeout in argosy.yaml): "+
		"%s; when that is mended, submit again: it goes on from here", limit, missing)
}
