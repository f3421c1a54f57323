package reset

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

const (
	// cniDir is where network plugins and their callers keep their notes, podman and nerdctl as well as kubelets'
	// container runtimes.
	cniDir = "/var/lib/cni"
	// resultsDir holds a file for each container in each network, as libcni writes it.
	resultsDir = cniDir + "/results"
	// leasesDir holds a folder for each network, with a file for each address, as the plugin host-local writes it.
	leasesDir = cniDir + "/networks"
)

// attached are containers' places in networks.
type attached struct {
	// networks are the names, ids those of containers, addresses those of containers, and links those on the machine.
	networks, ids, addresses, links, namespaces map[string]bool
}

func newAttached() attached {
	return attached{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

// podNetworks tell pods apart in the machine's network from containers of podman, nerdctl and others that call the same
// plugins.
type podNetworks struct {
	pods, others attached
}

// networkResult is a file of resultsDir.
type networkResult struct {
	ContainerID string     `json:"containerId"`
	NetworkName string     `json:"networkName"`
	Args        [][]string `json:"cniArgs"`
	Result      struct {
		Interfaces []struct {
			Name    string `json:"name"`
			Sandbox string `json:"sandbox"`
		} `json:"interfaces"`
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	} `json:"result"`
}

// podUID matches the UIDs of pods, from an API server and from the kubelet's own manifests. Podman gives none, or the
// container's id, which is longer.
var podUID = regexp.MustCompile(`^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})$`)

// ofPod reports whether a kubelet's container runtime asked for it.
func (r *networkResult) ofPod() bool {
	return slices.ContainsFunc(r.Args, func(arg []string) bool {
		return len(arg) == 2 && arg[0] == "K8S_POD_UID" && podUID.MatchString(arg[1])
	})
}

// add notes one container's place in a network.
func (a *attached) add(r *networkResult) {
	a.networks[r.NetworkName], a.ids[r.ContainerID] = true, true
	for _, one := range r.Result.Interfaces {
		if one.Sandbox == "" {
			a.links[one.Name] = true
		} else {
			a.namespaces[filepath.Base(one.Sandbox)] = true
		}
	}
	for _, ip := range r.Result.IPs {
		if prefix, err := netip.ParsePrefix(ip.Address); err == nil && !prefix.Addr().IsLoopback() {
			a.addresses[prefix.Addr().String()] = true
		}
	}
}

// read adds the networks and containers that the machine's files name now. It removes none: the proof looks for rules
// after the files that name their containers are removed.
func (p *podNetworks) read(h *host.Host) {
	p.others = newAttached()
	if p.pods.networks == nil {
		p.pods = newAttached()
	}
	for _, name := range namesIn(h, resultsDir) {
		if result := readResult(h, filepath.Join(resultsDir, name)); result == nil {
			continue
		} else if result.ofPod() {
			p.pods.add(result)
		} else {
			p.others.add(result)
		}
	}
	for _, name := range configuredNetworks(h) {
		p.pods.networks[name] = true
	}
	for _, name := range namesIn(h, leasesDir) {
		if !p.pods.networks[name] {
			p.others.networks[name] = true
		}
	}
}

// shared reports whether others than pods have been in networks of plugins.
func (p *podNetworks) shared() bool { return len(p.others.networks) > 0 }

func readResult(h *host.Host, file string) *networkResult {
	data, err := h.ReadFile(file)
	if err != nil {
		return nil
	}
	var result networkResult
	if json.Unmarshal(data, &result) != nil || result.ContainerID == "" {
		return nil
	}
	return &result
}

func namesIn(h *host.Host, dir string) []string {
	entries, _ := os.ReadDir(h.Path(dir))
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// otherEngines are the links that podman and nerdctl make for their networks, by which their configurations are told.
var otherEngines = regexp.MustCompile(`"(cni-podman|podman|nerdctl|br-)[0-9a-z]*"|"nerdctlID"`)

// configuredNetworks names the networks in the folder from which a container runtime takes that of pods: the first,
// which may have been another one before. Those of podman and nerdctl, which lie there too, are passed over.
func configuredNetworks(h *host.Host) []string {
	var found []string
	for _, name := range namesIn(h, layout.CNIConf) {
		file := filepath.Join(layout.CNIConf, name)
		config := slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(name))
		if config && !otherEngines.MatchString(h.ReadLine(file)) {
			found = append(found, networksOf(h, file)...)
		}
	}
	return found
}

// networksOf returns the networks of a configuration; none when it cannot be read.
func networksOf(h *host.Host, file string) []string {
	var config struct {
		Name string `json:"name"`
	}
	data, err := h.ReadFile(file)
	if err != nil || json.Unmarshal(data, &config) != nil || config.Name == "" {
		return nil
	}
	return []string{config.Name}
}

// files lists the plugins' notes of pods; all of their folder where no others have been in networks of plugins.
func (p *podNetworks) files(h *host.Host) []string {
	if !p.shared() {
		return []string{cniDir}
	}
	found := []string{}
	for _, name := range namesIn(h, leasesDir) {
		found = append(found, p.leases(h, filepath.Join(leasesDir, name))...)
	}
	if h.Exists(cniDir + "/flannel") {
		found = append(found, cniDir+"/flannel")
	}
	// They identify the owners of the others, so they are removed last.
	for _, name := range namesIn(h, resultsDir) {
		file := filepath.Join(resultsDir, name)
		if result := readResult(h, file); result != nil && result.ofPod() {
			found = append(found, file)
		}
	}
	return found
}

// leases returns the files of the addresses in a network that pods hold: its folder, unless others hold some.
func (p *podNetworks) leases(h *host.Host, dir string) []string {
	var pods []string
	whole := p.pods.networks[filepath.Base(dir)] && !p.others.networks[filepath.Base(dir)]
	for _, name := range namesIn(h, dir) {
		// The container's id, and in a second line its link.
		id, _, _ := strings.Cut(h.ReadLine(filepath.Join(dir, name)), "\n")
		if id = strings.TrimSpace(id); p.pods.ids[id] {
			pods = append(pods, filepath.Join(dir, name))
		} else if p.others.ids[id] {
			whole = false
		}
	}
	if whole {
		return []string{dir}
	}
	return pods
}

// comments match the comments by which plugins name the container of a rule: bridge and portmap by iptables, bridge and
// portmap by nftables.
var comments = []*regexp.Regexp{
	regexp.MustCompile(`^(?:dnat )?name: "(?P<net>[^"]*)" id: "(?P<id>[^"]*)`),
	regexp.MustCompile(`, net: (?P<net>[^,]*), if: [^,]*, id: (?P<id>\S*)$`),
	regexp.MustCompile(`^(?P<id>[0-9a-f]{64})$`),
}

// owner is the kind of owner of a rule.
type owner int

const (
	// unknown is a rule that names no container.
	unknown owner = iota
	ownedByPods
	ownedByOthers
)

// ofComment returns the owner of a rule with this comment: by the container that it names, or else by the network.
func (p *podNetworks) ofComment(comment string) owner {
	for _, form := range comments {
		match := form.FindStringSubmatch(comment)
		if match == nil {
			continue
		}
		id, network := match[form.SubexpIndex("id")], ""
		if at := form.SubexpIndex("net"); at >= 0 {
			network = match[at]
		}
		switch {
		case has(p.pods.ids, id):
			return ownedByPods
		case has(p.others.ids, id), !p.pods.networks[network]:
			return ownedByOthers
		}
		return ownedByPods
	}
	return unknown
}

// has reports whether ids has this one, which a long network name may have cut off.
func has(ids map[string]bool, id string) bool {
	if ids[id] {
		return true
	}
	const telling = 12
	if len(id) < telling {
		return false
	}
	for known := range ids {
		if strings.HasPrefix(known, id) {
			return true
		}
	}
	return false
}
