package hosted_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/pkg/errclass"
)

func TestTimedOutWaitNamesConditionAndLastReason(t *testing.T) {
	cluster := controlplanetest.New(t, controlplanetest.SQLite)
	cluster.Fleet.ControlPlane.Timeout.Duration = time.Millisecond
	var reported []string
	err := cluster.Wait(t.Context(), `StatefulSet "a" not rolled out`,
		func(line string) { reported = append(reported, line) },
		func(context.Context) (string, error) { return "0 of 1 pods are ready", nil })
	assert.Error(t, err, `StatefulSet "a" not rolled out after 1ms: 0 of 1 pods are ready; repair that, or raise `+
		`controlPlane.timeout in argosy.yaml, and submit again to continue from here`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.DeepEqual(t, reported, []string{"0 of 1 pods are ready"})
}

func TestWaitRepeatsTransientErrorsOnly(t *testing.T) {
	cluster := controlplanetest.New(t, controlplanetest.SQLite)
	errs := []error{
		errclass.With(errclass.Transient, errors.New("busy")),
		errclass.With(errclass.Configuration, errors.New("forbidden")),
	}
	err := cluster.Wait(t.Context(), "cluster not ready", func(string) {}, func(context.Context) (string, error) {
		next := errs[0]
		errs = errs[1:]
		return "", next
	})
	assert.Error(t, err, "forbidden")
}

func TestACancelledWaitIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the workflow was stopped"))
	err := controlplanetest.New(t, controlplanetest.SQLite).Wait(ctx, "cluster not ready", func(string) {},
		func(context.Context) (string, error) { return "not yet", nil })
	assert.Error(t, err, "the workflow was stopped")
	assert.Equal(t, errclass.ClassOf(err), errclass.Cancelled)
}
