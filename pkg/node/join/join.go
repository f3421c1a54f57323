// Package join makes a machine a node of one cluster: it has the phases, one file each, in the order they run. It
// touches the cluster only by kubeadm with a bootstrap token, and never touches a machine that is another cluster's
// node.
package join

import (
	"path/filepath"
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// Phases returns the phases of a join, in order.
func Phases() []node.Phase {
	return []node.Phase{
		{
			Name: "preflight", Short: "checking that the machine can become a node", Check: checkPreflight,
			Apply: applyPreflight,
		},
		beforeInstall.phase("running preInstallCommands"),
		{Name: "bundle", Short: "receiving the node's binaries", Check: checkBundle, Apply: applyBundle},
		{Name: "kernel", Short: "setting up kernel modules and sysctls", Check: checkKernel, Apply: applyKernel},
		{Name: "binaries", Short: "installing the binaries", Check: checkBinaries, Apply: applyBinaries},
		{
			Name: "registries", Short: "setting up how registries are reached", Check: checkRegistries,
			Apply: applyRegistries,
		},
		{Name: "containerd", Short: "starting containerd", Check: checkContainerd, Apply: applyContainerd},
		{Name: "images", Short: "importing images", Check: checkImages, Apply: applyImages},
		{Name: "kubelet", Short: "installing the kubelet's unit", Check: checkKubelet, Apply: applyKubelet},
		beforeJoin.phase("running preJoinCommands"),
		{Name: "kubeadm", Short: "joining the cluster", Check: checkKubeadm, Apply: applyKubeadm},
		{
			Name: "settings", Short: "setting the kubelet's configuration and arguments", Check: checkSettings,
			Apply: applySettings,
		},
		{Name: "healthy", Short: "waiting for the kubelet to be healthy", Check: checkHealthy, Apply: applyHealthy},
		afterJoin.phase("running postJoinCommands"),
	}
}

// PhasesNamed returns the phases with these names, for other operations that configure a node as a join does.
func PhasesNamed(names ...string) []node.Phase {
	var named []node.Phase
	for _, phase := range Phases() {
		if slices.Contains(names, phase.Name) {
			named = append(named, phase)
		}
	}
	return named
}

// bundleDir returns the bundle's folder, which is named by its digest.
func bundleDir(j *spec.Join) string {
	return filepath.Join(layout.Store(j.BinariesPath), j.Bundle.SHA256)
}

// release returns the path of a file of the unpacked bundle.
func release(j *spec.Join, name string) string { return filepath.Join(bundleDir(j), "release", name) }

// program returns the path of an installed binary.
func program(j *spec.Join, name string) string { return filepath.Join(j.BinariesPath, name) }
