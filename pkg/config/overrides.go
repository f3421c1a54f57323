package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Overrides returns one sentence for each setting of a machine that differs from that of all machines in vcluster.yaml,
// by its key below machines[].join (taints: machines[].taints). Repeating the same value is no difference. Commands and
// logins, which may hold secrets, are counted and named, not shown.
func (c *Cluster) Overrides(m Machine) []string {
	nodes, own := c.VCluster.PrivateNodes, m.Join
	all := nodes.JoinNode
	var s sentences
	s.replaced("binariesPath", nodes.AutoUpgrade.BinariesPath, own.BinariesPath)
	s.replaced("cniBinariesPath", nodes.AutoUpgrade.CNIBinariesPath, own.CNIBinariesPath)
	s.counted("preInstallCommands", len(all.PreInstallCommands), len(own.PreInstallCommands))
	s.counted("preJoinCommands", len(all.PreJoinCommands), len(own.PreJoinCommands))
	s.counted("postJoinCommands", len(all.PostJoinCommands), len(own.PostJoinCommands))
	s.containerd(all.Containerd, own.Containerd)
	s.replaced("caCertPath", all.CACertPath, own.CACertPath)
	s.beside("skipPhases", all.SkipPhases, own.SkipPhases)
	s.registration(all.NodeRegistration, own.NodeRegistration)
	s.taints(all.NodeRegistration.Taints, m.Taints)
	return s
}

// sentences describe differences.
type sentences []string

func (s *sentences) add(key, format string, values ...any) {
	*s = append(*s, key+": "+fmt.Sprintf(format, values...))
}

func (s *sentences) containerd(all Containerd, own MachineContainerd) {
	if on := all.enabled(own); on != all.Enabled {
		s.replaced("containerd.enabled", strconv.FormatBool(all.Enabled), strconv.FormatBool(on))
	}
	s.replaced("containerd.registry.configPath", all.Registry.ConfigPath, own.Registry.ConfigPath)
	ofRegistries(s, "containerd.registry.mirrors", all.Registry.Mirrors, own.Registry.Mirrors)
	ofRegistries(s, "containerd.registry.auth", all.Registry.Auth, own.Registry.Auth)
	s.beside("containerd.importImages", nil, own.ImportImages)
	s.replaced("containerd.pauseImage", all.PauseImage, own.PauseImage)
}

func (s *sentences) registration(all NodeRegistration, own MachineRegistration) {
	const key = "nodeRegistration."
	s.replaced(key+"criSocket", all.CRISocket, own.CRISocket)
	s.args(key+"kubeletExtraArgs", all.KubeletExtraArgs, own.KubeletExtraArgs)
	s.beside(key+"ignorePreflightErrors", all.IgnorePreflightErrors, own.IgnorePreflightErrors)
	s.replaced(key+"imagePullPolicy", all.ImagePullPolicy, own.ImagePullPolicy)
}

func (s *sentences) replaced(key, all, own string) {
	switch {
	case own == "" || own == all:
	case all == "":
		s.add(key, "%s", own)
	default:
		s.add(key, "%s instead of %s", own, all)
	}
}

func (s *sentences) counted(key string, all, own int) {
	switch {
	case own == 0:
	case all == 0:
		s.add(key, "%d of its own", own)
	default:
		s.add(key, "%d of its own after the %d of all machines", own, all)
	}
}

// beside names the items that only the machine's list has.
func (s *sentences) beside(key string, all, own []string) {
	more := slices.DeleteFunc(slices.Clone(own), func(word string) bool { return slices.Contains(all, word) })
	if len(more) > 0 {
		s.add(key, "%s as well", strings.Join(more, ", "))
	}
}

// ofRegistries names the registries for which a machine has a mirror or a login of its own.
func ofRegistries[T any](s *sentences, key string, all, own map[string]T) {
	for _, registry := range slices.Sorted(maps.Keys(own)) {
		if _, replaced := all[registry]; replaced {
			s.add(join(key, registry), "its own instead of that of all machines")
			continue
		}
		s.add(join(key, registry), "its own")
	}
}

func (s *sentences) args(key string, all, own []KubeletArg) {
	done := map[string]bool{}
	for _, arg := range own {
		if done[arg.Name] {
			continue
		}
		done[arg.Name] = true
		s.replaced(key, ofName(all, arg.Name), ofName(own, arg.Name))
	}
}

// ofName returns all arguments of one name: "v=2 v=4".
func ofName(args []KubeletArg, name string) string {
	var words []string
	for _, arg := range args {
		if arg.Name == name {
			words = append(words, arg.Name+"="+arg.Value)
		}
	}
	return strings.Join(words, " ")
}

func (s *sentences) taints(all, own []Taint) {
	for _, taint := range own {
		before := ""
		for _, other := range all {
			if other.Key == taint.Key && other.Effect == taint.Effect {
				before = other.String()
			}
		}
		s.replaced("taints", before, taint.String())
	}
}

// String returns a taint as kubectl writes it: "gpu=yes:NoSchedule".
func (t Taint) String() string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}
