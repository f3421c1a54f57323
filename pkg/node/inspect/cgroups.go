package inspect

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// podGroups lists the groups that the machine's kubelet may make for pods: at the top, or beneath the cgroupRoot of its
// configuration, which systemd spells out in the slice's name.
func podGroups(h *host.Host) []string {
	groups := slices.Clone(topGroups)
	match := cgroupRoot.FindStringSubmatch(h.ReadLine(layout.KubeletConfig))
	if match == nil || strings.Trim(match[1], "/") == "" {
		return groups
	}
	root := strings.Trim(match[1], "/")
	slice, outer := "", ""
	for _, part := range strings.Split(root, "/") {
		outer = strings.TrimPrefix(outer+"-"+part, "-")
		slice = filepath.Join(slice, outer+".slice")
	}
	return append(groups, filepath.Join(root, "kubepods"), filepath.Join(slice, outer+"-kubepods.slice"))
}

var cgroupRoot = regexp.MustCompile(`(?m)^cgroupRoot: *"?(/[A-Za-z0-9_./-]+)"?`)

// topGroups are the names of the control group that a kubelet makes for all pods: by the driver cgroupfs, and by
// systemd.
var topGroups = []string{"kubepods", "kubepods.slice"}

// Cgroups are the machine's control groups as this program sees them.
type Cgroups struct {
	host        *host.Host
	hierarchies []hierarchy
	// pods are the paths of the groups for pods in each hierarchy.
	pods []string
	// own are the groups of this process and of those that it descends from.
	own []map[string]string
}

// ReadCgroups reads how control groups are mounted and which ones this program is in.
func ReadCgroups(h *host.Host) *Cgroups {
	own := []map[string]string{groupsOf(h, "self")}
	for _, pid := range Ancestors(h) {
		own = append(own, groupsOf(h, strconv.Itoa(pid)))
	}
	return &Cgroups{host: h, pods: podGroups(h), hierarchies: hierarchies(h, own[0]), own: own}
}

// Pods lists the control groups of all pods, one in each hierarchy that has any. Only those at the top are the
// machine's: those beneath others are of kubelets in containers. A group that this program or an ancestor is in is left
// out: there the machine is itself a pod, and its neighbours belong to the cluster around.
func (c *Cgroups) Pods() []string {
	var found []string
	for _, hierarchy := range c.hierarchies {
		for _, name := range c.pods {
			group := filepath.Join(hierarchy.point, name)
			if info, err := os.Lstat(c.host.Path(group)); err == nil && info.IsDir() && !c.around(hierarchy, name) {
				found = append(found, group)
			}
		}
	}
	return found
}

// PodOf returns the group of a process that is in one of Pods, "/kubepods/besteffort/pod1/c1"; "" for any other
// process.
func (c *Cgroups) PodOf(pid int) string {
	groups := groupsOf(c.host, strconv.Itoa(pid))
	for _, hierarchy := range c.hierarchies {
		for _, name := range c.pods {
			if hierarchy.within(groups, name) && !c.around(hierarchy, name) {
				return groups[hierarchy.key]
			}
		}
	}
	return ""
}

// around reports whether this program or an ancestor is in the group of this name.
func (c *Cgroups) around(h hierarchy, name string) bool {
	return slices.ContainsFunc(c.own, func(groups map[string]string) bool { return h.within(groups, name) })
}

// hierarchy is one tree of control groups.
type hierarchy struct {
	// key names it as /proc/<pid>/cgroup does: by its controllers, "cpu,cpuacct", or "" for version 2.
	key string
	// root is the group that is mounted at point. It is not "/" in a container that sees the groups of its host by
	// name.
	root, point string
}

// within reports whether a process with these groups is in the group of this name at the hierarchy's top.
func (h hierarchy) within(groups map[string]string, name string) bool {
	relative, beneath := strings.CutPrefix(groups[h.key], strings.TrimSuffix(h.root, "/")+"/")
	return beneath && (relative == name || strings.HasPrefix(relative, name+"/"))
}

// hierarchies lists those that are mounted in /sys/fs/cgroup; own are the groups of this process in each.
func hierarchies(h *host.Host, own map[string]string) []hierarchy {
	const top = "/sys/fs/cgroup"
	data, _ := h.ReadFile("/proc/self/mountinfo")
	mounts, _ := mountinfo.GetMountsFromReader(bytes.NewReader(data), nil)
	var found []hierarchy
	for _, mount := range mounts {
		if mount.Mountpoint != top && filepath.Dir(mount.Mountpoint) != top {
			continue
		}
		for key := range own {
			if mount.FSType == "cgroup2" && key == "" ||
				mount.FSType == "cgroup" && sameControllers(key, mount.VFSOptions) {
				found = append(found, hierarchy{key: key, root: mount.Root, point: mount.Mountpoint})
			}
		}
	}
	return found
}

// sameControllers reports whether the options of a mount of version 1 have all controllers of a key.
func sameControllers(key, options string) bool {
	has := strings.Split(options, ",")
	for _, controller := range strings.Split(key, ",") {
		if !slices.Contains(has, controller) {
			return false
		}
	}
	return key != ""
}

// groupsOf reads the groups of a process, by the hierarchies' keys.
func groupsOf(h *host.Host, process string) map[string]string {
	groups := map[string]string{}
	for line := range strings.Lines(h.ReadLine(filepath.Join("/proc", process, "cgroup"))) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			groups[parts[1]] = parts[2]
		}
	}
	return groups
}
