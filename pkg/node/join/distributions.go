package join

import (
	"context"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	// remainsCheck is the name by which ignorePreflightErrors ignores leftovers of another node; kubeadm has no such
	// check.
	remainsCheck = "NodeRemains"
	// podNetworkCheck is the name by which it ignores network configurations of others than flannel.
	podNetworkCheck = "PodNetwork"
)

// checkDistributions finds Kubernetes of other installers on the machine:
//
//	it runs                        a problem: the two would use the same ports, folders, links and rules
//	it starts at boot, but stands  a problem of checkRemains, which can be ignored
//	it left folders or units       a remark
//	it is in containers            a remark
//
// checkOwner refuses a kubelet that is not Argosy's.
func checkDistributions(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	for _, other := range inspect.Distributions(h, inspect.Processes(h)) {
		switch {
		case other.Contained:
			f.remark("The machine has %s; Argosy leaves them alone.", other)
		case other.Running:
			f.problem("The machine is a node of another Kubernetes already: %s; if that is not needed, %s, then "+
				"join the machine.",
				other, other.Remove)
		case !other.Active:
			f.remark("There are remains of %s; if they are not needed, %s.", other, other.Remove)
		}
	}
}

// checkRemains finds the leftovers of another cluster's node that would disturb a new one. Beside a kubelet of
// Argosy's, links and folders are its own.
func checkRemains(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	for _, other := range inspect.Distributions(h, inspect.Processes(h)) {
		if other.Active && !other.Running {
			f.problem("The machine becomes a node of another Kubernetes at its next boot: %s; if that is not "+
				"needed, %s.",
				other, other.Remove)
		}
	}
	if inspect.Kubelet(h, nil, nil).Ours {
		return
	}
	if remains := inspect.Remains(h); len(remains) > 0 {
		f.problem("An earlier node left %s, over which the kubelet and the network of pods stumble; remove them "+
			"(links "+
			"by ip link delete), or add %s to ignorePreflightErrors.", strings.Join(remains, ", "), remainsCheck)
	}
	if inspect.HasPods(h) {
		f.remark("An earlier node left %s/pods, which a later reset removes.", layout.KubeletDir)
	}
}

// checkPodNetwork looks at the network configurations that are there before the node:
//
//	cluster's pod network    configurations of others
//	flannel, as an addon     a problem: pods get addresses by them before, or instead of, flannel
//	of others                a remark: one of them may be the site's own
//
// Links of another network are a problem beside flannel too: Cilium's holds the port of flannel's tunnels.
func checkPodNetwork(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	if inspect.Kubelet(h, nil, nil).Ours {
		return
	}
	if links := inspect.NetworkLinks(h); j.Flannel && len(links) > 0 {
		f.problem("There are links of another network of pods than flannel: %s; reboot the machine or remove them (ip "+
			"link delete), or add %s to ignorePreflightErrors.", strings.Join(links, ", "), podNetworkCheck)
	}
	var others []string
	for _, name := range inspect.NetworkConfigs(h) {
		if !j.Flannel || name != layout.FlannelConf { // which the addon overwrites
			others = append(others, name)
		}
	}
	switch {
	case len(others) == 0:
	case j.Flannel:
		f.problem("There are network configurations of others than flannel: %s. Of all that are in %s, containerd "+
			"takes the first for pods; remove what an earlier node or another container engine left, or add %s to "+
			"ignorePreflightErrors.", strings.Join(others, ", "), layout.CNIConf, podNetworkCheck)
	default:
		f.remark("There are network configurations already: %s. Of all that are there, containerd takes the first "+
			"for pods; remove what an earlier node or another container engine left.", strings.Join(others, ", "))
	}
}
