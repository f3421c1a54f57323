package inspect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// Remains lists the leftovers of a kubelet, of pods and of their networks that disturb a new node: links of networks,
// flannel's note of its subnet, leases of addresses, and the kubelet's notes of how it gave out CPUs and memory, with
// which it does not start under another policy.
func Remains(h *host.Host) []string {
	var found []string
	links, _ := filepath.Glob(h.Path("/sys/class/net/*"))
	for _, link := range links {
		name := filepath.Base(link)
		if name == "cni0" || name == "kube-ipvs0" || strings.HasPrefix(name, "flannel.") ||
			strings.HasPrefix(name, "flannel-v6.") {
			found = append(found, "link "+name)
		}
	}
	for _, name := range []string{"/run/flannel", KubeletState[0], KubeletState[1]} {
		if h.Exists(name) {
			found = append(found, name)
		}
	}
	for _, name := range cniFolders {
		if holdsLeases(h.Path(name)) {
			found = append(found, name)
		}
	}
	return found
}

// networkLinks begin the names of links that networks of pods other than flannel make.
var networkLinks = []string{"cilium_", "vxlan.calico", "vxlan-v6.calico", "weave", "vxlan-6784", "antrea-", "ovn-k8s-"}

// NetworkLinks lists the links of networks of pods other than flannel.
func NetworkLinks(h *host.Host) []string {
	links, _ := filepath.Glob(h.Path("/sys/class/net/*"))
	var found []string
	for _, link := range links {
		name := filepath.Base(link)
		if slices.ContainsFunc(networkLinks, func(start string) bool { return strings.HasPrefix(name, start) }) {
			found = append(found, name)
		}
	}
	return found
}

// KubeletState are the kubelet's notes of how it gave out CPUs and memory. It does not start with a note of another
// policy.
var KubeletState = []string{layout.KubeletDir + "/cpu_manager_state", layout.KubeletDir + "/memory_manager_state"}

// cniFolders are where flannel and the plugins that it calls keep leases and results. Those of podman's and nerdctl's
// networks, beside them, are of use to these.
var cniFolders = []string{"/var/lib/cni/networks/cbr0", "/var/lib/cni/flannel"}

// holdsLeases reports whether there is a file in the folder, beside the plugin's lock and its note of the last
// address, which stay when all addresses were given back.
func holdsLeases(dir string) bool {
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, func(entry os.DirEntry) bool {
		return entry.Name() != "lock" && !strings.HasPrefix(entry.Name(), "last_reserved_ip")
	})
}

// HasPods reports whether a kubelet left folders of pods.
func HasPods(h *host.Host) bool {
	pods, _ := filepath.Glob(h.Path(layout.KubeletDir + "/pods/*"))
	return len(pods) > 0
}

// NetworkConfigs lists the configurations in the folder where containerd looks for the network of pods, in the order
// in which it looks: it takes the first.
func NetworkConfigs(h *host.Host) []string {
	files, _ := filepath.Glob(h.Path(filepath.Join(layout.CNIConf, "*")))
	var found []string
	for _, file := range files {
		if slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(file)) {
			found = append(found, filepath.Join(layout.CNIConf, filepath.Base(file)))
		}
	}
	return found
}
