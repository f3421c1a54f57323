package reset

import (
	"slices"
	"strings"
)

// rule has the parts of a packet filter rule that identify its owner.
type rule struct {
	// jump is the chain that it leads to; "" for none.
	jump    string
	comment string
	// source and destination are single addresses, and links those that it came in by or goes out by, but for excluded
	// ones.
	source, destination string
	links               []string
	// returns is set for a rule that only ends its chain.
	returns bool
}

// chain is one of a table's, with its rules in their order.
type chain struct {
	name  string
	rules []rule
}

// removal lists the chains and rules of one table to remove.
type removal struct {
	// chains are a node's.
	chains []string
	// rules are those to delete from chains that stay, by the chain and their places in it.
	rules map[string][]int
}

// nodeChains begin the names of chains that the kubelet and kube-proxy, and flannel, make by iptables.
var nodeChains = []string{"KUBE-", "FLANNEL-"}

// pluginChains begin the names of chains that CNI plugins make, whichever software calls them.
const pluginChains = "CNI-"

// ownersChain is the plugin firewall's chain for rules of the machine's owner.
const ownersChain = "CNI-ADMIN"

// pluginGroups are the chains that all containers share: of the plugin portmap, and of the plugin firewall.
var pluginGroups = [][]string{
	{"CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"},
	{"CNI-FORWARD", ownersChain},
	{"CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"},
}

func isSharedChain(name string) bool {
	return slices.ContainsFunc(pluginGroups, func(group []string) bool { return slices.Contains(group, name) })
}

// ofNode reports whether a chain of this name is a node's, even beside other container engines.
func ofNode(name string) bool {
	return slices.ContainsFunc(nodeChains, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// selectRemoval returns the chains and rules of a table that belong to the node and its pods:
//
//	chain                          goes
//	KUBE-*, FLANNEL-*              always
//	CNI-<hash>, CNI-DN-<hash>      if a rule in it, or one that leads to it, names a pod's container or network
//	those that containers share    if no rule is left but of pods, and no others have been in networks of plugins
//	any other                      never; but the rules that lead to those, and in shared ones those of pods
func (p *podNetworks) selectRemoval(chains []chain) removal {
	going := map[string]bool{}
	for _, one := range chains {
		if ofNode(one.name) {
			going[one.name] = true
		}
		for _, r := range one.rules {
			if p.ofComment(r.comment) != ownedByPods {
				continue
			}
			for _, name := range []string{one.name, r.jump} {
				if strings.HasPrefix(name, pluginChains) && !isSharedChain(name) {
					going[name] = true
				}
			}
		}
	}
	for _, group := range pluginGroups {
		free := p.free(chains, group, going)
		for _, name := range group {
			going[name] = free
		}
	}
	chosen := removal{rules: map[string][]int{}}
	for _, one := range chains {
		if going[one.name] {
			chosen.chains = append(chosen.chains, one.name)
			continue
		}
		for at, r := range one.rules {
			if going[r.jump] || isSharedChain(one.name) && one.name != ownersChain && p.ofPod(r) {
				chosen.rules[one.name] = append(chosen.rules[one.name], at)
			}
		}
	}
	return chosen
}

// free reports whether a group of shared chains has no rules but for pods, and those that plugins make for all.
func (p *podNetworks) free(chains []chain, group []string, going map[string]bool) bool {
	if p.shared() {
		return false
	}
	for _, one := range chains {
		if !slices.Contains(group, one.name) {
			continue
		}
		for _, r := range one.rules {
			if one.name == ownersChain {
				return false
			}
			forAll := r.returns || p.static(one.name) || slices.Contains(group, r.jump) && len(r.links) == 0
			if !forAll && !going[r.jump] && !p.ofPod(r) {
				return false
			}
		}
	}
	return true
}

// static reports whether all rules of a chain are the plugin's own, and none a container's.
func (p *podNetworks) static(name string) bool {
	return name == "CNI-HOSTPORT-SETMARK" || name == "CNI-HOSTPORT-MASQ"
}

// ofPod reports whether a rule names a pod, its address, or a link that only pods are on.
func (p *podNetworks) ofPod(r rule) bool {
	for _, address := range []string{r.source, r.destination} {
		if p.pods.addresses[address] && !p.others.addresses[address] {
			return true
		}
	}
	for _, link := range r.links {
		if (p.pods.links[link] || link == podBridge) && !p.others.links[link] {
			return true
		}
	}
	return p.ofComment(r.comment) == ownedByPods
}
