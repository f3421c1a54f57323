package operation_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestPhasesInTheClusterAreCountedAroundTheMachinesOwn(t *testing.T) {
	shown := ""
	progress := operation.AsText(func(text string) { shown = text })
	phases := operation.Phases{"cordon", "drain", operation.MachinePhases, "ready", "uncordon"}
	for phase, want := range map[string]string{
		"cordon": "[1/7 cordon] node m1", "drain": "[2/7 drain] node m1", "ready": "[6/7 ready] node m1",
		"uncordon": "[7/7 uncordon] node m1",
	} {
		operation.Reportf(phases.In(phase, 3, progress), "node %s", "m1")
		assert.Equal(t, shown, want)
	}
	status := spec.Status{Index: 3, Total: 3, Phase: "kubelet", Message: "c"}
	assert.Equal(t, phases.OfMachine(status).String(), "[5/7 kubelet] c")

	phases = operation.Phases{operation.MachinePhases, "ready"}
	operation.Reportf(phases.In("ready", 3, progress), "f")
	assert.Equal(t, shown, "[4/4 ready] f")
	assert.Equal(t, operation.Phases{operation.MachinePhases}.OfMachine(status).String(), "[3/3 kubelet] c")

	phases = operation.Phases{"cordon", operation.MachinePhases, "node"}
	operation.Reportf(phases.In("node", 0, progress), "g")
	assert.Equal(t, shown, "[2/2 node] g")
}
