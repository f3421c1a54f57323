package config

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// refusal is a part of vcluster.yaml that Argosy does not carry out, with the reason and the way out. when returns the
// nodes at path that are refused.
type refusal struct {
	path    string
	when    func(*node) []*node
	reason  string
	instead string
}

const (
	noHostNodes = "is not possible with private nodes: workloads run on the cluster's own machines, and nothing is " +
		"synced with the host cluster"
	noSleep  = "is not possible with private nodes: neither workloads nor the control plane can sleep"
	onlyTrue = "cannot be switched off with private nodes"
	turnOff  = "remove it, or set enabled: false"
)

// unsupported returns the refusals of settings that private nodes rule out. A setting that has the value that holds
// anyway, such as enabled: false, passes.
func unsupported() []refusal {
	return []refusal{
		{"sync", switchedOn, noHostNodes, turnOff},
		{"integrations", switchedOn, "is not possible with private nodes: integrations need syncing with the host " +
			"cluster", turnOff + " and install the tool in the cluster"},
		{"networking.replicateServices", switchedOn, "is not possible with private nodes: services live in the " +
			"cluster alone", "remove it"},
		{
			"networking.resolveDNS", switchedOn, "is not possible with private nodes: it needs the embedded CoreDNS",
			"remove it, and use controlPlane.coredns.overwriteConfig",
		},
		{
			"networking.advanced.fallbackHostCluster", switchedOn,
			"is not possible with private nodes: the machines do not see the host cluster's services", "remove it",
		},
		{"networking.advanced.proxyKubelets", switchedOn, "is not possible with private nodes: the kubelets are the " +
			"cluster's own", "remove it"},
		{"controlPlane.distro.k3s", switchedOn, "is not possible with private nodes: machines join with kubeadm, " +
			"which needs Kubernetes itself", "use controlPlane.distro.k8s"},
		{"controlPlane.distro.k0s", switchedOn, "is not possible with private nodes: machines join with kubeadm, " +
			"which needs Kubernetes itself", "use controlPlane.distro.k8s"},
		{"controlPlane.distro.k8s.apiServer.enabled", switchedOff, onlyTrue, "remove it"},
		{"controlPlane.distro.k8s.controllerManager.enabled", switchedOff, onlyTrue, "remove it"},
		{"controlPlane.coredns.embedded", switchedOn, "is not possible with private nodes: pods could not reach a " +
			"CoreDNS outside the pod network", "remove it; CoreDNS runs in the cluster"},
		{"controlPlane.hostPathMapper", switchedOn, "is not possible with private nodes: host paths are the " +
			"machine's own", turnOff},
		{
			"controlPlane.advanced.hostPathMapper", switchedOn,
			"is not possible with private nodes: host paths are the machine's own", turnOff,
		},
		{
			"serviceCIDR", switchedOn, "is no setting any more: the network of Services has another place",
			"write it as networking.serviceCIDR",
		},
		{"sleepMode", switchedOn, noSleep, turnOff},
		{"sleep", switchedOn, noSleep, turnOff},
		{"experimental.isolatedControlPlane", switchedOn, "is not possible with private nodes: the control plane is " +
			"apart from the workloads already", turnOff},
		{"experimental.genericSync", switchedOn, noHostNodes, "remove it"},
		{
			"controlPlane.standalone", switchedOn, "is not supported: the control plane runs in the host cluster",
			turnOff + ", and list machines under machines in argosy.yaml",
		},
		{"privateNodes.autoNodes", switchedOn, "is not supported: Argosy joins machines that exist, it does not " +
			"create them", "create them with your own tool, list them under machines in argosy.yaml, and submit the " +
			"join workflow"},
		{
			"privateNodes.vpn", switchedOn, "is not supported: it needs the original's platform",
			turnOff + "; set controlPlane.endpoint (cluster.endpoint in argosy.yaml for a cluster that exists) to an " +
				"address that the machines reach, or connect them with a VPN of your own before they join",
		},
		{
			"privateNodes.daemon", switchedOn, "is not supported: Argosy leaves no resident agent on a machine",
			turnOff + "; put a load balancer or a virtual address in front of the control plane, and name it in " +
				"controlPlane.endpoint",
		},
		{
			"privateNodes.defaultProfile", switchedOn,
			"is not supported: node profiles belong to the original's platform",
			"set labels and taints of machines in argosy.yaml",
		},
		{
			"deploy.volumeSnapshotController", switchedOn, "is not part of the schema any more",
			turnOff + " and install the controller in the cluster",
		},
	}
}

// refuse adds a problem for every node of the document that one of the refusals matches, except those that have the
// original's default.
//
//	sync.toHost.pods: {enabled: true}                             passes: it is the default
//	sync.toHost.pods: {enabled: true, translateImage: {a: b}}     translateImage is refused
//	integrations.istio: {enabled: false, sync: {…}}               passes: it is off
func (d *document) refuse(refusals []refusal) {
	rest := d.root.withoutDefaults()
	for _, r := range refusals {
		n := d.root.find(r.path)
		if n == nil {
			continue
		}
		matched := r.when(n)
		var refused []*node
		if n = rest.find(r.path); n != nil {
			refused = slices.DeleteFunc(r.when(n), (*node).isOriginalDefault)
		}
		for _, one := range refused {
			if one.tag == "!!str" && meansFalse(one) && (one.path != r.path || lastKey(one.path) == "enabled") {
				d.notBoolean(one)
				continue
			}
			d.add(one.path, r.reason, r.instead)
		}
		d.ignoreDefaults(slices.DeleteFunc(matched, func(m *node) bool {
			return slices.ContainsFunc(refused, func(one *node) bool { return one.path == m.path })
		}))
	}
}

// switchedOn returns the nodes that switch something on: every "enabled: true", and every other setting that is not
// under an "enabled: false". "auto", false, null, zero and empty values switch nothing on.
//
//	enabled: true                   that key
//	enabled: false, or auto         nothing, whatever stands beside it
//	true, 1, text, a filled list    that value
func switchedOn(n *node) []*node {
	switch n.kind {
	case yaml.SequenceNode:
		if len(n.items) > 0 {
			return []*node{n}
		}
		return nil
	case yaml.MappingNode:
		if enabled := n.get("enabled"); enabled != nil {
			return switchedOn(enabled)
		}
		var found []*node
		for _, f := range n.fields {
			found = append(found, switchedOn(f.value)...)
		}
		return found
	}
	if n.tag == nullTag || n.text == "" || n.text == "0" || n.text == "auto" || isFalse(n) {
		return nil
	}
	return []*node{n}
}

// switchedOnExplicitly returns a mapping's "enabled: true". It is for sections that are off by default, whatever their
// other keys are.
func switchedOnExplicitly(n *node) []*node {
	enabled := n.get("enabled")
	if enabled == nil {
		return nil
	}
	return switchedOn(enabled)
}

// switchedOff returns the node if it is false.
func switchedOff(n *node) []*node {
	if isFalse(n) {
		return []*node{n}
	}
	return nil
}

func isFalse(n *node) bool {
	return n.kind == yaml.ScalarNode && n.tag == "!!bool" &&
		(n.text == "false" || n.text == "False" || n.text == "FALSE")
}

// written returns the node unless it is null.
func written(n *node) []*node {
	if n.tag == nullTag {
		return nil
	}
	return []*node{n}
}

// anySet returns the entries of a mapping that are not empty.
func anySet(n *node) []*node {
	var found []*node
	for _, f := range n.fields {
		if f.value.tag != nullTag && (f.value.kind == yaml.ScalarNode && f.value.text != "" ||
			len(f.value.fields)+len(f.value.items) > 0) {
			found = append(found, f.value)
		}
	}
	return found
}

// beyond returns the entries of a mapping that are not empty, except those of the harmless keys.
func beyond(harmless ...string) func(*node) []*node {
	return func(n *node) []*node {
		return slices.DeleteFunc(anySet(n), func(entry *node) bool {
			return slices.ContainsFunc(harmless, func(key string) bool { return entry == n.get(key) })
		})
	}
}

// beyondEmptyDir returns the volumes of a list that are not emptyDir.
func beyondEmptyDir(n *node) []*node {
	var found []*node
	for _, volume := range n.items {
		if volume.get("emptyDir") == nil {
			found = append(found, volume)
		}
	}
	return found
}

// experiments returns the nodes that section experimental switches on, except those with a refusal of their own and the
// original's own defaults.
func experiments(n *node) []*node {
	var found []*node
	for _, f := range n.fields {
		switch f.name {
		case "isolatedControlPlane", "genericSync":
		case "syncSettings":
			for _, setting := range f.value.fields {
				if setting.name != "setOwner" {
					found = append(found, switchedOn(setting.value)...)
				}
			}
		default:
			found = append(found, switchedOn(f.value)...)
		}
	}
	return found
}

// otherThan returns the node if it is switched on with a value other than usual.
func otherThan(usual string) func(*node) []*node {
	return func(n *node) []*node {
		if n.text == usual {
			return nil
		}
		return switchedOn(n)
	}
}
