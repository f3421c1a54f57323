package inspect

import (
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// Remains lists traces of kubelets, pods and their networks that a new node may stumble over: links and
// folders of networks with their leases of addresses, and the kubelet's notes of how it gave out CPUs and memory.
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
	for _, name := range []string{
		"/var/lib/cni", "/run/flannel", layout.KubeletDir + "/cpu_manager_state", layout.KubeletDir +
			"/memory_manager_state",
	} {
		if h.Exists(name) {
			found = append(found, name)
		}
	}
	if pods, _ := filepath.Glob(h.Path(layout.KubeletDir + "/pods/*")); len(pods) > 0 {
		found = append(found, layout.KubeletDir+"/pods, which a later reset removes")
	}
	return found
}

// NetworkConfigs lists the configurations in the folder where containerd looks for the network of pods, in the order in
// which it looks: it takes the first.
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
