// Package upgrade takes a machine that is a node to another version of Kubernetes, in three operations of one file a
// phase: a stage receives all that will be needed and touches nothing that runs, an upgrade keeps what is there and
// puts the new in its place, and a rollback puts back what was kept. It moves no pods: whoever asks for an upgrade has
// drained the node, or does without. What a node of a version looks like, package join knows.
package upgrade

import (
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/join"
)

var preflight = node.Phase{Name: "preflight", Short: "checking that the machine can be upgraded", Check: checkPreflight,
	Apply: nothing}

// StagePhases are what a stage consists of.
func StagePhases() []node.Phase {
	return slices.Concat([]node.Phase{preflight}, join.PhasesNamed("bundle", "images"))
}

// Phases are what an upgrade consists of. The kubelet's configuration is upgraded by the new kubeadm while the old
// kubelet still runs with the one it has read; each service is restarted once, and only if what it runs changes.
func Phases() []node.Phase {
	return slices.Concat(
		StagePhases(),
		[]node.Phase{
			{Name: "keep", Short: "keeping what is there", Check: checkKeep, Apply: applyKeep},
			{Name: "kubeadm", Short: "upgrading the node's configuration", Check: checkKubeadm, Apply: applyKubeadm},
		},
		join.PhasesNamed("kernel", "binaries", "registries", "containerd", "kubelet", "settings"),
		[]node.Phase{tidyAfter(join.PhasesNamed("healthy")[0])},
	)
}

// RollbackPhases are what a rollback consists of.
func RollbackPhases() []node.Phase {
	return []node.Phase{
		{Name: "preflight", Short: "looking for what was kept", Check: checkKept, Apply: nothing},
		{Name: "restore", Short: "putting back what was kept", Check: checkRestore, Apply: applyRestore},
		{Name: "services", Short: "restarting what was put back", Check: checkServices, Apply: applyServices},
		{Name: "healthy", Short: "waiting for the kubelet to be healthy", Check: checkHealthy, Apply: applyHealthy},
	}
}
