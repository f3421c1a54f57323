package config

import (
	"fmt"
	"slices"
	"strconv"
)

// The rules of what machines say for themselves that only both documents together tell.

// ofArgosysContainerd are the settings, by their key below section containerd, that only a containerd which Argosy sets
// up can have.
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

// checkRuntimes refuses settings of Argosy's containerd where a runtime of the user's own is used instead.
//
//	containerd.enabled in   vcluster.yaml   the machine   settings of vcluster.yaml   settings of the machine
//	                        true            -             hold                        hold
//	                        true            false         hold for the others         refused
//	                        false           -             refused                     refused
//	                        false           true          hold for this one           hold
func (c *Cluster) checkRuntimes(v, f *document) {
	const (
		reason = "is a setting of the containerd that Argosy sets up, and containerd.enabled is false: the runtime " +
			"that is there already is never touched"
		instead = "remove it, and set up that runtime yourself"
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
		for _, key := range ofArgosysContainerd(m.Join.alone().Containerd) {
			f.add(fmt.Sprintf("machines[%d].join.containerd.%s", i, key), reason, instead)
		}
	}
}

// checkPluginPaths refuses a machine's own folder of CNI plugins where flannel puts its plugin into the one of all
// machines.
func (c *Cluster) checkPluginPaths(f *document) {
	all := c.VCluster.PrivateNodes.AutoUpgrade.CNIBinariesPath
	if !c.VCluster.Deploy.CNI.Flannel.Enabled {
		return
	}
	for i, m := range c.Fleet.Machines {
		if own := m.Join.CNIBinariesPath; own != "" && own != all {
			f.add("machines["+strconv.Itoa(i)+"].join.cniBinariesPath",
				fmt.Sprintf("is not where flannel puts its plugin on every node, which is %s", all),
				"remove it, or set privateNodes.autoUpgrade.cniBinariesPath for all machines; a pod network of your "+
					"own is had with deploy.cni.flannel.enabled: false")
		}
	}
}
