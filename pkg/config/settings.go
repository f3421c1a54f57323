package config

import (
	"cmp"
	"maps"
	"slices"
)

// NodeSettings holds the settings of one machine as a node: privateNodes.joinNode and the paths of
// privateNodes.autoUpgrade, merged with the machine's own.
type NodeSettings struct {
	// BinariesPath is where its programs go, CNIBinariesPath where its CNI plugins go.
	BinariesPath    string `json:"binariesPath"`
	CNIBinariesPath string `json:"cniBinariesPath"`
	JoinNode
}

// Settings merges the settings of a machine: the defaults, over them vcluster.yaml, over that the machine's join in
// argosy.yaml.
//
//	kind of setting                            all machines      the machine       it gets
//	a single value                             a                 -                 a
//	                                           a                 b                 b
//	commands, importImages                     a, b              c                 a, b, c
//	skipPhases, ignorePreflightErrors          a, b              b, c              a, b, c
//	kubeletExtraArgs, by name                  x=1, y=2, x=3     x=4               y=2, x=4
//	registry.mirrors and auth, by registry     m: one, n: two    n: three          m: one, n: three
//	taints, by key and effect                  k:E=1, l:E=2      k:E=3             k:E=3, l:E=2
//	labels                                     -                 z=1               z=1
//
// A mirror or login of the machine replaces the one of its registry as a whole. Where containerd.enabled ends up false,
// containerd.registry and containerd.pauseImage are empty: they are of Argosy's containerd alone.
func (c *Cluster) Settings(m Machine) NodeSettings {
	nodes := c.VCluster.PrivateNodes
	all := nodes.JoinNode
	s := NodeSettings{
		BinariesPath:    cmp.Or(m.Join.BinariesPath, nodes.AutoUpgrade.BinariesPath),
		CNIBinariesPath: cmp.Or(m.Join.CNIBinariesPath, nodes.AutoUpgrade.CNIBinariesPath),
		JoinNode: JoinNode{
			PreInstallCommands: slices.Concat(all.PreInstallCommands, m.Join.PreInstallCommands),
			PreJoinCommands:    slices.Concat(all.PreJoinCommands, m.Join.PreJoinCommands),
			PostJoinCommands:   slices.Concat(all.PostJoinCommands, m.Join.PostJoinCommands),
			Containerd:         all.Containerd.over(m.Join.Containerd),
			CACertPath:         cmp.Or(m.Join.CACertPath, all.CACertPath),
			SkipPhases:         union(all.SkipPhases, m.Join.SkipPhases),
			NodeRegistration:   all.NodeRegistration.over(m.Join.NodeRegistration),
		},
	}
	s.NodeRegistration.Taints = c.Taints(m)
	return s
}

// over returns the container runtime of all machines with one machine's own over it.
func (c Containerd) over(own MachineContainerd) Containerd {
	merged := Containerd{Enabled: c.enabled(own), ImportImages: slices.Concat(c.ImportImages, own.ImportImages)}
	if !merged.Enabled {
		return merged
	}
	merged.PauseImage = cmp.Or(own.PauseImage, c.PauseImage)
	merged.Registry = Registry{
		ConfigPath: cmp.Or(own.Registry.ConfigPath, c.Registry.ConfigPath),
		Mirrors:    byRegistry(c.Registry.Mirrors, own.Registry.Mirrors),
		Auth:       byRegistry(c.Registry.Auth, own.Registry.Auth),
	}
	return merged
}

// enabled reports whether a machine gets Argosy's containerd.
func (c Containerd) enabled(own MachineContainerd) bool {
	if own.Enabled != nil {
		return *own.Enabled
	}
	return c.Enabled
}

// over returns the registration of all nodes with one machine's own over it; Taints merges the taints.
func (r NodeRegistration) over(own MachineRegistration) NodeRegistration {
	return NodeRegistration{
		CRISocket:             cmp.Or(own.CRISocket, r.CRISocket),
		KubeletExtraArgs:      argsOver(r.KubeletExtraArgs, own.KubeletExtraArgs),
		IgnorePreflightErrors: union(r.IgnorePreflightErrors, own.IgnorePreflightErrors),
		ImagePullPolicy:       cmp.Or(own.ImagePullPolicy, r.ImagePullPolicy),
	}
}

// argsOver returns one list of arguments followed by another, which replaces every argument of the same name.
func argsOver(all, own []KubeletArg) []KubeletArg {
	replaced := func(arg KubeletArg) bool {
		return slices.ContainsFunc(own, func(other KubeletArg) bool { return other.Name == arg.Name })
	}
	return append(slices.DeleteFunc(slices.Clone(all), replaced), own...)
}

// byRegistry returns the entries of all machines, with one machine's own in place of those of the same registry.
func byRegistry[T any](all, own map[string]T) map[string]T {
	if len(all)+len(own) == 0 {
		return nil
	}
	merged := make(map[string]T, len(all)+len(own))
	maps.Copy(merged, all)
	maps.Copy(merged, own)
	return merged
}

// union returns one list, and the items of another that it does not have.
func union(all, own []string) []string {
	var merged []string
	for _, word := range slices.Concat(all, own) {
		if !slices.Contains(merged, word) {
			merged = append(merged, word)
		}
	}
	return merged
}
