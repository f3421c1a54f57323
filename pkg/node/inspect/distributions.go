package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
)

// Distribution is Kubernetes of another installer than Argosy.
type Distribution struct {
	// Name is its own: "k3s".
	Name string
	// Found names the units, processes and folders that it was found by.
	Found []string
	// Active is set when it runs or starts at boot. Otherwise Found are remains.
	Active bool
	// Running is set when a process of it runs.
	Running bool
	// Contained is set when it runs in containers of the machine, with ports and folders of its own.
	Contained bool
	// Remove is the way to remove it: "run k3s-uninstall.sh".
	Remove string
}

// String names a distribution with the signs of it: "k3s (k3s.service, /etc/rancher/k3s)".
func (d Distribution) String() string {
	const shown = 4
	found := d.Found
	if len(found) > shown {
		found = append(slices.Clone(found[:shown]), fmt.Sprintf("%d more", len(d.Found)-shown))
	}
	return d.Name + " (" + strings.Join(found, ", ") + ")"
}

// distribution has the signs of one kind of Distribution.
type distribution struct {
	name string
	// units are patterns of its units' names, processes the names of its programs, and folders those that no other
	// software makes.
	units, processes, folders []string
	remove                    string
}

// distributions are known by the names that their installers give: k3s and RKE2 by install.sh, k0s by `k0s install`,
// MicroK8s by snap, MicroShift and KubeEdge by their packages.
var distributions = []distribution{
	{
		name: "k3s", units: []string{"k3s.service", "k3s-*.service"},
		processes: []string{"k3s", "k3s-server", "k3s-agent"},
		folders:   []string{"/etc/rancher/k3s", "/var/lib/rancher/k3s", "/run/k3s"},
		remove:    "run k3s-uninstall.sh or k3s-agent-uninstall.sh",
	},
	{
		name: "RKE2", units: []string{"rke2-server.service", "rke2-agent.service"}, processes: []string{"rke2"},
		folders: []string{"/etc/rancher/rke2", "/var/lib/rancher/rke2"},
		remove:  "run rke2-uninstall.sh",
	},
	{
		name: "k0s", units: []string{"k0scontroller.service", "k0sworker.service"}, processes: []string{"k0s"},
		folders: []string{"/etc/k0s", "/var/lib/k0s", "/run/k0s"},
		remove:  "run k0s stop and k0s reset",
	},
	{
		name: "MicroK8s", units: []string{"snap.microk8s.*.service"}, processes: []string{"kubelite"},
		folders: []string{"/snap/microk8s", "/var/snap/microk8s"},
		remove:  "run snap remove --purge microk8s",
	},
	{
		name: "MicroShift", units: []string{"microshift.service"}, processes: []string{"microshift"},
		folders: []string{"/etc/microshift", "/var/lib/microshift"},
		remove:  "run microshift-cleanup-data --all and remove the package microshift",
	},
	{
		name: "KubeEdge", units: []string{"edgecore.service"}, processes: []string{"edgecore"},
		folders: []string{"/etc/kubeedge", "/var/lib/kubeedge"},
		remove:  "run keadm reset",
	},
	{
		name: "minikube", folders: []string{"/var/lib/minikube"},
		remove: "run minikube delete",
	},
}

// Distributions lists the Kubernetes software on the machine that Argosy did not install, but for a kubelet of its own:
// see ForeignKubelet.
func Distributions(h *host.Host, processes []Process) []Distribution {
	var found []Distribution
	for _, known := range distributions {
		if d := known.find(h, processes); len(d.Found) > 0 {
			found = append(found, d)
		}
	}
	if d := inContainers(h, processes); len(d.Found) > 0 {
		found = append(found, d)
	}
	return found
}

func (k distribution) find(h *host.Host, processes []Process) Distribution {
	d := Distribution{Name: k.name, Remove: k.remove}
	for _, unit := range units(h, k.units) {
		d.Found = append(d.Found, unit)
		d.Active = d.Active || Enabled(h, unit)
	}
	for _, process := range processes {
		if slices.Contains(k.processes, process.Name) && process.Program != "" && !Contained(h, process) {
			d.Found = append(d.Found, fmt.Sprintf("process %s (pid %d)", process.Name, process.PID))
			d.Active, d.Running = true, true
		}
	}
	for _, folder := range k.folders {
		if h.Exists(folder) {
			d.Found = append(d.Found, folder)
		}
	}
	return d
}

// inContainers finds nodes of kind, minikube or k3d: kubelets in containers of the machine. They have their own network
// and folders, so a node beside them does not disturb them.
func inContainers(h *host.Host, processes []Process) Distribution {
	d := Distribution{
		Name:      "nodes in containers, as kind, minikube and k3d make them",
		Contained: true,
		Remove:    "run kind delete cluster, minikube delete or k3d cluster delete",
	}
	groups := ReadCgroups(h)
	for _, process := range processes {
		is := slices.Contains([]string{"kubelet", "k3s-server", "k3s-agent", "kubelite"}, process.Name)
		if is && Contained(h, process) && groups.PodOf(process.PID) == "" {
			d.Found = append(d.Found, fmt.Sprintf("process %s (pid %d)", process.Name, process.PID))
		}
	}
	return d
}

// Contained reports whether a process is in a container of this machine: in another PID namespace than this program.
// Where that is not to be read, it is taken for the machine's own.
func Contained(h *host.Host, process Process) bool {
	own, err := os.Readlink(h.Path("/proc/self/ns/pid"))
	if err != nil {
		return false
	}
	its, err := os.Readlink(h.Path(fmt.Sprintf("/proc/%d/ns/pid", process.PID)))
	return err == nil && its != own
}

// units lists the names of the units that match one of the patterns, but for those that are masked: the mask stands in
// another folder than the unit, and leaves it enabled.
func units(h *host.Host, patterns []string) []string {
	var names []string
	for _, dir := range unitDirs {
		for _, pattern := range patterns {
			files, _ := filepath.Glob(h.Path(filepath.Join(dir, pattern)))
			for _, file := range files {
				name := filepath.Base(file)
				if !slices.Contains(names, name) && !Masked(h, UnitFile(h, name)) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// Masked reports whether a unit cannot be started, since its file is a link to /dev/null.
func Masked(h *host.Host, file string) bool {
	target, err := os.Readlink(h.Path(file))
	return err == nil && target == os.DevNull
}

// Enabled reports whether systemd starts the unit at boot.
func Enabled(h *host.Host, unit string) bool {
	for _, dir := range unitDirs {
		for _, kind := range []string{"wants", "requires", "upholds"} {
			if links, _ := filepath.Glob(h.Path(filepath.Join(dir, "*."+kind, unit))); len(links) > 0 {
				return true
			}
		}
	}
	return false
}

// ForeignKubelet finds a kubelet that runs on the machine or has a unit there and is not Argosy's, such as a
// distribution's package and kubeadm set up; Found is empty when there is none. The unit is the file that systemd
// takes, "" for none.
func ForeignKubelet(h *host.Host, unit string, processes []Process) Distribution {
	d := Distribution{
		Name:   "a kubelet that Argosy did not install",
		Remove: "run kubeadm reset and remove the package kubelet, or what else brought it",
	}
	if Marked(h, unit) {
		return d
	}
	if unit != "" && !Masked(h, unit) {
		d.Found = append(d.Found, unit)
	}
	for _, process := range processes {
		if process.Name == "kubelet" && process.Program != "" && !Contained(h, process) {
			d.Found = append(d.Found, fmt.Sprintf("process %s (pid %d)", process.Program, process.PID))
		}
	}
	// A unit that is not enabled is started by kubeadm.
	d.Active = len(d.Found) > 0
	return d
}
