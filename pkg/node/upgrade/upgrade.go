// Package upgrade takes a machine that is a node to another version of Kubernetes, in three operations: a stage
// receives the bundle and images and changes nothing that runs, an upgrade keeps the present files and replaces them,
// and a rollback restores the kept files. It moves no pods: the plugin has drained the node, unless that is turned off.
// Package join has the configuration of a node.
package upgrade

import (
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/join"
)

var preflight = node.Phase{
	Name: "preflight", Short: "checking that the machine can be upgraded", Check: checkPreflight,
	Apply: nothing,
}

// StagePhases returns the phases of a stage.
func StagePhases() []node.Phase {
	return slices.Concat([]node.Phase{preflight}, join.PhasesNamed("bundle", "images"))
}

// Phases returns the phases of an upgrade. The new kubeadm upgrades the kubelet's configuration while the old kubelet
// still runs with the former one; each service is restarted once, and only if its files change.
func Phases() []node.Phase {
	return slices.Concat(
		StagePhases(),
		[]node.Phase{
			{Name: "keep", Short: "keeping the present files", Check: checkKeep, Apply: applyKeep},
			{Name: "kubeadm", Short: "upgrading the node's configuration", Check: checkKubeadm, Apply: applyKubeadm},
		},
		join.PhasesNamed("kernel", "binaries", "registries", "containerd", "kubelet", "settings"),
		[]node.Phase{thenRemoveOldBundles(join.PhasesNamed("healthy")[0])},
	)
}

// RollbackPhases returns the phases of a rollback.
func RollbackPhases() []node.Phase {
	return []node.Phase{
		{Name: "preflight", Short: "looking for the kept files", Check: checkKept, Apply: nothing},
		{Name: "restore", Short: "restoring the kept files", Check: checkRestore, Apply: applyRestore},
		{
			Name: "services", Short: "restarting services with the restored files", Check: checkServices,
			Apply: applyServices,
		},
		{Name: "healthy", Short: "waiting for the kubelet to be healthy", Check: checkHealthy, Apply: applyHealthy},
	}
}
