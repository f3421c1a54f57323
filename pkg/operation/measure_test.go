package operation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// endsWith is a machine whose operation is running, and ends with a status.
type endsWith struct {
	operation.Machine
	status spec.Status
}

func (m endsWith) Start(context.Context, spec.Operation) (spec.Status, error) {
	return spec.Status{State: spec.Running}, nil
}

func (m endsWith) follow(context.Context, spec.Status) (spec.Status, error) { return m.status, nil }

func TestPhasesAndBytesOfAMachineAreMeasuredInAllAttempts(t *testing.T) {
	ctx, measurements := operation.Measuring(t.Context())
	progress := operation.Timed(ctx, operation.NoProgress{})
	progress.Report(operation.Event{Phase: "drain"})
	progress.Report(operation.Event{Phase: "kubelet"})
	for _, state := range []spec.State{spec.Failed, spec.Succeeded} {
		machine := endsWith{status: spec.Status{State: state, Phases: []spec.Phase{
			{Name: "bundle", Outcome: spec.Applied, Seconds: 2, Bytes: 100},
			{Name: "containerd", Outcome: spec.Held, Seconds: 9},
			{Name: "kubelet", Outcome: spec.FailedPhase, Seconds: 1.5},
		}}}
		_, err := operation.Runner{}.Run(ctx, machine, spec.Operation{ID: "x"}, machine.follow)
		assert.Equal(t, err == nil, state == spec.Succeeded)
		progress.Report(operation.Event{Phase: "kubelet"})
	}
	progress.Report(operation.Event{Phase: "ready"})
	assert.Equal(t, measurements.Bytes(), int64(200))
	found := map[string]bool{}
	for _, phase := range measurements.Phases() {
		found[phase.Name] = true
		switch phase.Name {
		case "bundle":
			assert.Equal(t, phase.Seconds, 4.0)
		case "kubelet":
			assert.Equal(t, phase.Seconds, 3.0, "the machine's own time, not that between two events")
		}
	}
	assert.DeepEqual(t, found, map[string]bool{"drain": true, "bundle": true, "kubelet": true, "ready": true})
}

func TestRetriesAreMeasuredByClass(t *testing.T) {
	ctx, measurements := operation.Measuring(t.Context())
	left := 2
	err := operation.Retrying(ctx, time.Minute, operation.NoProgress{}, func(context.Context) error {
		if left--; left >= 0 {
			return errclass.With(errclass.Transient, errors.New("lost"))
		}
		return errclass.With(errclass.Permanent, errors.New("no disk"))
	})
	assert.ErrorContains(t, err, "no disk")
	assert.DeepEqual(t, measurements.Retries(), map[errclass.Class]int{errclass.Transient: 2})
}

func TestWithoutMeasurementsProgressIsTheSame(t *testing.T) {
	_, same := operation.Timed(t.Context(), operation.NoProgress{}).(operation.NoProgress)
	assert.Assert(t, same)
}
