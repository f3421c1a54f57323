package config

import (
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// The rule of settings of a cluster that exists: its control plane, its networks, its addons and the policies of its
// namespace are not Argosy's. They describe the cluster and are not carried out, and none of them is refused, so that
// the vcluster.yaml with which the original made a cluster serves as it is. A remark names them.

// notOfExisting returns the sections that are carried out for hosted clusters alone.
func notOfExisting() []string {
	return []string{
		"controlPlane", "deploy", "policies", "rbac", "exportKubeConfig", "experimental", "external", "logging",
		"snapshots", "deletion", "platform", "plugin", "plugins", "privateNodes.kubelet.config",
		"privateNodes.importNodeBinaries", "privateNodes.cni", "privateNodes.kubeProxy",
		"privateNodes.localPathProvisioner",
	}
}

// usedForExisting reports whether a key below one of those sections has an effect for a cluster that exists as well, or
// is a fact about it.
func usedForExisting(path string) bool {
	return slices.Contains([]string{
		versionKey, "controlPlane.distro.k8s.image.tag", "controlPlane.endpoint", kubeletConfigKey + ".cgroupDriver",
	}, path)
}

// notCarriedOut returns the keys that are set in a cluster that exists and have no effect. Sections that are off, the
// original's defaults and Argosy's own count as not set.
func (d *document) notCarriedOut() []string {
	rest := d.root.withoutDefaults()
	var keys []string
	for _, section := range notOfExisting() {
		for _, set := range d.setIn(rest.find(section)) {
			keys = append(keys, set.path)
		}
	}
	return keys
}

// setIn returns the values below a node that differ from the defaults.
func (d *document) setIn(n *node) []*node {
	switch {
	case n == nil || usedForExisting(n.path) || isUsual(n):
		return nil
	case n.path == kubeletConfigKey:
		return beyond("cgroupDriver")(n)
	case n.kind == yaml.MappingNode:
		if enabled := n.get("enabled"); enabled != nil && isFalse(enabled) && !isOnByDefault(enabled.path) {
			return nil
		}
		var found []*node
		for _, f := range n.fields {
			found = append(found, d.setIn(f.value)...)
		}
		return found
	case isFalse(n) && isOnByDefault(n.path):
		return []*node{n}
	}
	return switchedOn(n)
}

// usualValues returns Argosy's defaults by key, as node.inOneLine writes values.
var usualValues = sync.OnceValue(func() map[string]string {
	usual := map[string]string{}
	plain := strings.NewReplacer(`"`, "", ",", ", ")
	for _, k := range Keys(VClusterDocument) {
		usual[k.Key] = plain.Replace(k.Default)
	}
	for _, s := range spellings() {
		for key, value := range usual {
			if rest, is := strings.CutPrefix(key, s.newer+"."); is {
				usual[s.older+"."+rest] = value
			}
		}
	}
	return usual
})

// isUsual reports whether a value is Argosy's or the original's default.
func isUsual(n *node) bool {
	usual, known := usualValues()[n.path]
	return n.isOriginalDefault() || known && usual != "" && usual == n.inOneLine()
}

func isOnByDefault(path string) bool { return usualValues()[path] == "true" }

// existingRemarks returns the remark about settings of a cluster that exists; none without such a setting.
func (d *document) existingRemarks() []string {
	keys := d.notCarriedOut()
	if len(keys) == 0 {
		return nil
	}
	return []string{d.name + ": " + counted(keys, "setting is", "settings are") + " not carried out, since " +
		"cluster.kubeconfigSecret names a cluster whose control plane and addons are not Argosy's: " + listed(keys)}
}
