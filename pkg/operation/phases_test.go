package operation_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestPhasesInTheClusterAreCountedAroundTheMachinesOwn(t *testing.T) {
	phases := operation.Phases{"cordon", "drain", operation.MachinePhases, "ready", "uncordon"}
	assert.Equal(t, phases.Before(), 2)
	assert.Equal(t, phases.After(), 2)
	assert.Equal(t, phases.Message("cordon", 3, "a"), "[1/7 cordon] a")
	assert.Equal(t, phases.Message("drain", 3, "b"), "[2/7 drain] b")
	assert.Equal(t, operation.Message(spec.Status{Index: 3 + phases.Before(), Total: 3, Phase: "kubelet", Message: "c"},
		phases.Before()+phases.After()), "[5/7 kubelet] c · 0s")
	assert.Equal(t, phases.Message("ready", 3, "d"), "[6/7 ready] d")
	assert.Equal(t, phases.Message("uncordon", 3, "e"), "[7/7 uncordon] e")

	phases = operation.Phases{operation.MachinePhases, "ready"}
	assert.Equal(t, phases.Before(), 0)
	assert.Equal(t, phases.Message("ready", 3, "f"), "[4/4 ready] f")
}
