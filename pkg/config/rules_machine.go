package config

import (
	"fmt"
	"slices"
	"strconv"
)

// The rules of machines' own settings that need both documents.

// ofArgosysContainerd returns the keys below section containerd that are set and that only a containerd which Argosy
// installs can have.
func ofArgosysContainerd(c Containerd) []string {
	var set []string
	for _, setting := range []struct {
		key string
		set bool
	}{
		{"registry.configPath", c.Registry.ConfigPath != ""},
		{"registry.mirrors", len(c.Registry.Mirrors) > 0},
		{"registry.auth", len(c.Registry.Auth) > 0},
		{"pauseImage", c.PauseImage != ""},
	} {
		if setting.set {
			set = append(set, setting.key)
		}
	}
	return set
}

// checkRuntimes checks that settings of Argosy's containerd are not set where the user's own runtime is used.
//
//	containerd.enabled in   vcluster.yaml   the machine   settings of vcluster.yaml   settings of the machine
//	                        true            -             hold                        hold
//	                        true            false         hold for the others         refused
//	                        false           -             refused                     refused
//	                        false           true          hold for this one           hold
func (c *Cluster) checkRuntimes(v, f *document) {
	const (
		reason = "is a setting of the containerd that Argosy installs, and containerd.enabled is false: the " +
			"machine's own runtime is never touched"
		instead = "remove it, and configure that runtime yourself"
		all     = "privateNodes.joinNode.containerd"
	)
	containerd := c.VCluster.PrivateNodes.JoinNode.Containerd
	used := containerd.Enabled || slices.ContainsFunc(c.Fleet.Machines,
		func(m Machine) bool { return containerd.enabled(m.Join.Containerd) })
	if !used {
		for _, key := range ofArgosysContainerd(containerd) {
			v.add(all+"."+key, reason, instead)
		}
	}
	for i, m := range c.Fleet.Machines {
		if containerd.enabled(m.Join.Containerd) {
			continue
		}
		for _, key := range ofArgosysContainerd(m.Join.joinNode().Containerd) {
			f.add(fmt.Sprintf("machines[%d].join.containerd.%s", i, key), reason, instead)
		}
	}
}

// checkPluginPaths checks that no machine has a folder of CNI plugins of its own while flannel is deployed: flannel
// installs its plugin into the folder of all machines.
func (c *Cluster) checkPluginPaths(f *document) {
	all := c.VCluster.PrivateNodes.AutoUpgrade.CNIBinariesPath
	if !c.VCluster.Deploy.CNI.Flannel.Enabled {
		return
	}
	for i, m := range c.Fleet.Machines {
		if own := m.Join.CNIBinariesPath; own != "" && own != all {
			f.add("machines["+strconv.Itoa(i)+"].join.cniBinariesPath",
				fmt.Sprintf("is not the folder %s, into which flannel installs its plugin on every node", all),
				"remove it, or set privateNodes.autoUpgrade.cniBinariesPath for all machines; a pod network of your "+
					"own is had with deploy.cni.flannel.enabled: false")
		}
	}
}
