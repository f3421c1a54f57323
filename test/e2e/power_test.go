package e2e_test

import (
	"context"
	"testing"

	"argosy.dev/argosy/test/lab"
	"gotest.tools/v3/assert"
)

func TestJoinIsFinishedAfterPowerCut(t *testing.T) {
	const machine = "m1"
	assert.NilError(t, env.Lab.ResetAs(t.Context(), lab.ResetOptions{OwnDisk: true}, machine))
	t.Cleanup(func() { assert.NilError(t, env.Lab.Reset(context.Background(), machine)) })
	phases := []string{"kubeadm"}
	if wholeSuite {
		phases = []string{"bundle", "containerd", "kubeadm"}
	}
	for _, phase := range phases {
		t.Run(phase, func(t *testing.T) {
			switch phase {
			case "bundle":
				limitBandwidth(t)
			case "containerd":
				delayStart(t, machine, "containerd.service")
			case "kubeadm":
				delayStart(t, machine, "kubelet.service")
			}
			name := submit(t, teamA(), "join", "machines="+machine)
			waitForPhase(t, machine, phase)
			assert.NilError(t, machineNamed(t, machine).CutPower(t.Context()))
			restoreBandwidth(t)
			mustEndJoined(t, name)
			assertJoined(t, machine)
			runPodOn(t, machine) // the pause image is whole
			_, err := resetByHand(t, machine, "--yes")
			assert.NilError(t, err)
		})
	}
}
