// Package join makes a machine a node of one cluster: it holds the phases, one file each, in the order they run. It
// never touches the cluster beyond what kubeadm does with a bootstrap token, and never a machine that is another
// cluster's node.
package join

import (
	"path/filepath"
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// Phases are what a join consists of.
func Phases() []node.Phase {
	return []node.Phase{
		{Name: "preflight", Short: "checking that the machine can become a node", Check: checkPreflight,
			Apply: applyPreflight},
		beforeInstall.phase("running preInstallCommands"),
		{Name: "bundle", Short: "receiving the node's binaries", Check: checkBundle, Apply: applyBundle},
		{Name: "kernel", Short: "setting up kernel modules and sysctls", Check: checkKernel, Apply: applyKernel},
		{Name: "binaries", Short: "installing the binaries", Check: checkBinaries, Apply: applyBinaries},
		{Name: "registries", Short: "setting up how registries are reached", Check: checkRegistries,
			Apply: applyRegistries},
		{Name: "containerd", Short: "starting containerd", Check: checkContainerd, Apply: applyContainerd},
		{Name: "images", Short: "importing images", Check: checkImages, Apply: applyImages},
		{Name: "kubelet", Short: "installing the kubelet's unit", Check: checkKubelet, Apply: applyKubelet},
		beforeJoin.phase("running preJoinCommands"),
		{Name: "kubeadm", Short: "joining the cluster", Check: checkKubeadm, Apply: applyKubeadm},
		{Name: "settings", Short: "setting the kubelet's configuration and arguments", Check: checkSettings,
			Apply: applySettings},
		{Name: "healthy", Short: "waiting for the kubelet to be healthy", Check: checkHealthy, Apply: applyHealthy},
		afterJoin.phase("running postJoinCommands"),
	}
}

// PhasesNamed are the phases of these names, for operations that bring a node to what a join would make of it.
func PhasesNamed(names ...string) []node.Phase {
	var named []node.Phase
	for _, phase := range Phases() {
		if slices.Contains(names, phase.Name) {
			named = append(named, phase)
		}
	}
	return named
}

// bundleDir is this bundle's folder, named by its content.
func bundleDir(j *spec.Join) string {
	return filepath.Join(layout.Store(j.BinariesPath), j.Bundle.SHA256)
}

// release is a file of the unpacked bundle.
func release(j *spec.Join, name string) string { return filepath.Join(bundleDir(j), "release", name) }

// program is an installed binary.
func program(j *spec.Join, name string) string { return filepath.Join(j.BinariesPath, name) }
