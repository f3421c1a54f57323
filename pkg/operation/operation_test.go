package operation_test

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestAnOperationIsIdentifiedByItsWantedState(t *testing.T) {
	op := spec.Operation{
		Kind: spec.KindReset, Cluster: "team-a", Machine: "m1",
		Reset: &spec.Reset{ClusterUID: "uid"},
	}
	id, err := operation.Identify(op)
	assert.NilError(t, err)
	assert.Assert(t, len(id) == len("reset-")+16, id)
	for name, change := range map[string]struct {
		change func(*spec.Operation)
		same   bool
	}{
		"timeout": {func(o *spec.Operation) { o.Timeout = 1 }, true},
		"secrets": {func(o *spec.Operation) { o.Secrets.BootstrapToken = "x" }, true},
		"its id":  {func(o *spec.Operation) { o.ID = "x" }, true},
		"machine": {func(o *spec.Operation) { o.Machine = "m2" }, false},
		"cluster": {func(o *spec.Operation) { o.Cluster = "team-b" }, false},
		"content": {func(o *spec.Operation) { o.Reset = &spec.Reset{ClusterUID: "uid", RemoveVolumes: true} }, false},
	} {
		changed := op
		change.change(&changed)
		other, err := operation.Identify(changed)
		assert.NilError(t, err)
		assert.Equal(t, other == id, change.same, name)
	}
}

// elsewhere is a machine whose operation another caller cancels so many times.
type elsewhere struct {
	stepwise
	cancels, starts int
}

func (m *elsewhere) Start(ctx context.Context, op spec.Operation) (spec.Status, error) {
	m.starts++
	return m.stepwise.Start(ctx, op)
}

func (m *elsewhere) end() spec.Status {
	if m.cancels--; m.cancels >= 0 {
		return spec.Status{State: spec.Cancelled}
	}
	return spec.Status{State: spec.Succeeded}
}

func TestAnOperationThatAnotherCallerCancelsIsStartedOnceMore(t *testing.T) {
	for name, test := range map[string]struct {
		cancels, starts int
		ends            bool
	}{
		"never":        {0, 1, false},
		"once":         {1, 2, false},
		"every time":   {9, 2, true},
		"by ourselves": {1, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			machine := &elsewhere{cancels: test.cancels}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, err := operation.Runner{}.Run(ctx, machine, spec.Operation{ID: "join-1"},
				func(context.Context, spec.Status) (spec.Status, error) {
					if name == "by ourselves" {
						cancel(errclass.Errorf(errclass.Cancelled, "the workflow was terminated"))
					}
					return machine.end(), nil
				})
			assert.Equal(t, machine.starts, test.starts)
			assert.Equal(t, err != nil && errclass.ClassOf(err) == errclass.Cancelled, test.ends, "%v", err)
		})
	}
}
