package join

import (
	"context"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkDistributions finds Kubernetes of other installers on the machine:
//
//	it runs, or starts at boot              a problem: the two would use the same ports, folders, links and rules
//	it left something, or is in containers  a remark
//
// Beside a kubelet of Argosy's, links and folders are its own. checkOwner refuses a kubelet that is not Argosy's.
func checkDistributions(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	for _, other := range inspect.Distributions(h, inspect.Processes(h)) {
		switch {
		case other.Active:
			f.problem("The machine is a node of another Kubernetes already: %s; if that is not needed, %s, then "+
				"join the machine.",
				other, other.Remove)
		case other.Contained:
			f.remark("The machine has %s; Argosy leaves them alone.", other)
		default:
			f.remark("There are remains of %s; if they are not needed, %s.", other, other.Remove)
		}
	}
	if inspect.Kubelet(h, nil, nil).Ours {
		return
	}
	if remains := inspect.Remains(h); len(remains) > 0 {
		f.remark("An earlier node or container engine left %s, which may disturb the kubelet and the network of pods; "+
			"remove what is not needed.", strings.Join(remains, ", "))
	}
	if configs := inspect.NetworkConfigs(h); len(configs) > 0 {
		f.remark("There are network configurations already: %s. Of all that are there, containerd takes the first "+
			"for pods; "+
			"remove what an earlier node or another container engine left.", strings.Join(configs, ", "))
	}
}
