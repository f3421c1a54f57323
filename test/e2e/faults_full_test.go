//go:build full

package e2e_test

import "testing"

// TestJoinSurvivesFaultsDuringKubeadm injects each fault while a machine is neither clean nor joined.
func TestJoinSurvivesFaultsDuringKubeadm(t *testing.T) {
	for _, fault := range joinFaults() {
		t.Run(fault.name, func(t *testing.T) {
			resetMachines(t, "m1")
			delayStart(t, "m1", "kubelet.service")
			name := submit(t, teamA(), "join", "machines=m1")
			waitForPhase(t, "m1", "kubeadm")
			fault.inject(t, name)
			mustEndJoined(t, name)
			assertJoined(t, "m1")
		})
	}
}
