package operation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

var errLost = errclass.With(errclass.Transient, errors.New("the connection was lost"))

// stepwise is a machine whose operation is lost in a phase at each attempt but the last.
type stepwise struct{ lostIn []spec.Status }

func (*stepwise) Inspect(context.Context, spec.Question) (spec.Facts, error) {
	return spec.Facts{}, nil
}
func (*stepwise) Cancel(context.Context, string) error { return nil }

func (*stepwise) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	return spec.Status{ID: op.ID, State: spec.Running}, nil
}

func (m *stepwise) Watch(_ context.Context, id string, _ func(spec.Status)) (spec.Status, error) {
	time.Sleep(10 * time.Minute)
	if len(m.lostIn) == 0 {
		return spec.Status{ID: id, State: spec.Succeeded}, nil
	}
	status := m.lostIn[0]
	status.ID, status.State = id, spec.Running
	m.lostIn = m.lostIn[1:]
	return status, errLost
}

func inPhase(index int) spec.Status { return spec.Status{Index: index} }

func inPhaseWith(index int, bytes int64) spec.Status {
	return spec.Status{Index: index, Progress: &spec.Progress{Done: bytes}}
}

// Each attempt takes ten minutes, and the budget is five. The connection is lost
//
//	in phase           and the operation
//	never              succeeds
//	2, 3, 5            succeeds: each attempt came further
//	2 with more bytes  succeeds
//	2, 2               fails: the second attempt did not come further
//	3, 2               fails
//	3, 2, 4            fails at the second
func TestTheBudgetBeginsAnewWhereAnAttemptCameFurther(t *testing.T) {
	for name, test := range map[string]struct {
		lostIn []spec.Status
		fails  bool
	}{
		"never":              {},
		"further each time":  {lostIn: []spec.Status{inPhase(2), inPhase(3), inPhase(5)}},
		"more bytes":         {lostIn: []spec.Status{inPhaseWith(2, 10), inPhaseWith(2, 20), inPhaseWith(2, 21)}},
		"at the same place":  {lostIn: []spec.Status{inPhase(2), inPhase(2)}, fails: true},
		"earlier":            {lostIn: []spec.Status{inPhase(3), inPhase(2)}, fails: true},
		"earlier, then late": {lostIn: []spec.Status{inPhase(3), inPhase(2), inPhase(4)}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				machine := &stepwise{lostIn: test.lostIn}
				err := operation.Retrying(t.Context(), 5*time.Minute, operation.NoProgress{},
					func(ctx context.Context) error {
						_, err := operation.Runner{}.Run(ctx, machine, spec.Operation{ID: "join-1"},
							func(ctx context.Context, _ spec.Status) (spec.Status, error) {
								return machine.Watch(ctx, "join-1", nil)
							})
						return err
					})
				assert.Equal(t, err != nil, test.fails, "%v", err)
			})
		})
	}
}

func TestAnAdvanceCountsForTheRetryAroundItToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 0
		err := operation.Retrying(t.Context(), 5*time.Minute, operation.NoProgress{},
			func(ctx context.Context) error {
				return operation.Retrying(ctx, time.Nanosecond, operation.NoProgress{},
					func(ctx context.Context) error {
						time.Sleep(10 * time.Minute)
						if failures++; failures > 4 {
							return nil
						}
						operation.Advanced(ctx)
						return errLost
					})
			})
		assert.NilError(t, err)
		assert.Equal(t, failures, 5)
	})
}

func TestABudgetWithoutAdvanceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := operation.Retrying(t.Context(), 5*time.Minute, operation.NoProgress{},
			func(context.Context) error { return errLost })
		assert.ErrorContains(t, err, "the connection was lost")
		assert.Assert(t, time.Since(began) <= 5*time.Minute)
	})
}
