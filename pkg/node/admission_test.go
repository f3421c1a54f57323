package node

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
)

// asksFor is a machine whose phase "kubeadm" asks for its admission.
func asksFor(t *testing.T) (*toy, *spec.Operation) {
	t.Helper()
	m := newToy(t, "bundle", "kubeadm", "healthy")
	m.during["kubeadm"] = func(ctx context.Context, c *Context) error { return c.AwaitAdmission(ctx) }
	op := m.operation("join-1")
	op.Admission = true
	return m, op
}

// whenAwaited calls do once the stored status tells that the operation waits.
func whenAwaited(t *testing.T, m *toy, id string, do func()) {
	t.Helper()
	go func() {
		for t.Context().Err() == nil {
			status, err := m.engine.Store.Status(id)
			if err == nil && status.AwaitsAdmission {
				do()
				return
			}
		}
	}()
}

func TestAJoinAsksTheAPIServerWhenAdmitted(t *testing.T) {
	m, op := asksFor(t)
	asked := false
	whenAwaited(t, m, op.ID, func() {
		status, err := m.engine.Store.Status(op.ID)
		assert.Check(t, err)
		assert.Check(t, m.state["bundle"] && status.Phase == "kubeadm" && !m.state["kubeadm"])
		asked = true
		_, err = m.engine.Admit(t.Context(), op.ID)
		assert.Check(t, err)
	})
	status := m.run(op, context.Background())
	assert.Equal(t, status.State, spec.Succeeded)
	assert.Assert(t, asked && !status.AwaitsAdmission)
}

func TestAJoinThatWasNotToldToAskDoesNotWait(t *testing.T) {
	m, op := asksFor(t)
	op.Admission = false
	assert.Equal(t, m.run(op, context.Background()).State, spec.Succeeded)
}

func TestAJoinThatWaitsForItsAdmissionCanBeStopped(t *testing.T) {
	m, op := asksFor(t)
	stop, cancel := context.WithCancelCause(context.Background())
	whenAwaited(t, m, op.ID, func() { cancel(ErrCancelled) })
	status := m.run(op, stop)
	assert.Equal(t, status.State, spec.Cancelled)
	assert.Assert(t, !m.state["kubeadm"] && !status.AwaitsAdmission)
}

func TestAnAdmissionIsForOneRunOfAnOperation(t *testing.T) {
	m, op := asksFor(t)
	_, err := m.engine.Start(t.Context(), op)
	assert.NilError(t, err)
	_, err = m.engine.Admit(t.Context(), op.ID)
	assert.NilError(t, err)
	assert.Assert(t, m.engine.Store.admitted(op.ID))
	m.units.alive[op.ID] = false // it died with its machine
	_, err = m.engine.Start(t.Context(), op)
	assert.NilError(t, err)
	assert.Assert(t, !m.engine.Store.admitted(op.ID))
}

func TestAnOperationThatIsOverIsNotAdmitted(t *testing.T) {
	m, op := asksFor(t)
	op.Admission = false
	m.run(op, context.Background())
	status, err := m.engine.Admit(t.Context(), op.ID)
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Succeeded)
	assert.Assert(t, !m.engine.Store.admitted(op.ID))
	_, err = m.engine.Admit(t.Context(), "../x")
	assert.ErrorContains(t, err, "reading the operation's id")
}
