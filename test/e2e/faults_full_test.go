//go:build full

package e2e_test

import "testing"

// TestEveryFaultDuringKubeadmEndsWithAReadyNode strikes where a machine is neither clean nor joined.
func TestEveryFaultDuringKubeadmEndsWithAReadyNode(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			clean(t, "m1")
			name := submit(t, "machines=m1")
			reaches(t, "m1", "kubeadm")
			fault.strike(t, name)
			converges(t, name)
			assertJoined(t, "m1")
		})
	}
}
