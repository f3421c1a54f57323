package reset

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

const (
	containerdState = "/run/containerd"
	containerdRoot  = "/var/lib/containerd"
	// containerdPlugins is where containerd listens for plugins of its node resource interface.
	containerdPlugins = "/run/nri"
)

// ownsContainerd reports whether the machine's containerd is Argosy's, by its unit. Another one is never stopped, and
// keeps its images.
func ownsContainerd(h *host.Host) bool {
	unit := layout.Unit("containerd")
	return inspect.Marked(h, unit) || lostContent(h, unit)
}

// containerdDirs returns the folders of Argosy's containerd with state and data; a drop-in of the machine's owner may
// have moved them.
func containerdDirs(h *host.Host) []string {
	dirs := []string{containerdState, containerdRoot, containerdPlugins}
	for _, moved := range inspect.MovedContainerd(h) {
		for _, dir := range []string{moved.Root, moved.State} {
			if filepath.IsAbs(dir) && !slices.Contains(dirs, filepath.Clean(dir)) {
				dirs = append(dirs, filepath.Clean(dir))
			}
		}
	}
	return dirs
}

// containerdOwns reports whether containerd makes a child of this name in one of its folders. Where the owner moved it,
// other software's data may lie beside. The names are those that containerd 1.7 to 2.1 joins to root and state, and at
// the places that it always uses.
func containerdOwns(dir, child string) bool {
	if strings.HasPrefix(child, "io.containerd.") || child == "tmpmounts" {
		return true
	}
	switch dir {
	case containerdState:
		return slices.Contains([]string{
			"containerd.sock", "containerd.sock.ttrpc", "containerd.pid", "debug.sock", "fifo", "runc", "s",
		}, child)
	case containerdPlugins:
		return child == "nri.sock"
	}
	return false
}

// containerdData lists the folders of containerd, each with the names of its own data.
func containerdData(h *host.Host) []dataDir {
	var data []dataDir
	for _, dir := range containerdDirs(h) {
		byDefault := slices.Contains([]string{containerdState, containerdRoot, containerdPlugins}, dir)
		data = append(data, dataDir{
			path: dir, owns: func(child string) bool { return containerdOwns(dir, child) },
			made: byDefault,
		})
	}
	return data
}

// podData returns the folders in which pods have mounts.
func podData(files *tree) []dataDir {
	data := []dataDir{files.nodeData(layout.KubeletDir)}
	if ownsContainerd(files.host) {
		return append(data, containerdData(files.host)...)
	}
	return append(data,
		dataDir{path: containerdState + "/io.containerd.runtime.v2.task/" + podNamespace},
		dataDir{path: containerdState + "/io.containerd.grpc.v1.cri"})
}

func findContainerd(_ context.Context, n *node.Context) ([]string, error) {
	if !ownsContainerd(n.Host) {
		return nil, nil
	}
	found := describe(slices.DeleteFunc(runningProcesses(n.Host), func(p inspect.Process) bool {
		return p.Name != "containerd" || inspect.Contained(n.Host, p) ||
			!slices.Contains(binariesPaths(n), filepath.Dir(p.Program))
	}))
	if startsAtBoot(n.Host, "containerd") {
		found = append(found, "containerd.service, which starts at boot")
	}
	return found, nil
}

func (c *cleaner) stopContainerd(ctx context.Context, n *node.Context) (string, error) {
	if err := stopService(ctx, n, "containerd"); err != nil {
		return "", err
	}
	left, err := c.waitUntilGone(ctx, func() {}, func() ([]string, error) { return findContainerd(ctx, n) })
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", fmt.Errorf("stopping containerd: still there after %s: %s", c.goneTimeout, some(left))
	}
	return "containerd stopped", nil
}

// binariesPaths returns the folders that Argosy's programs may be in: the one that the documents name now, and the one
// of the join, from the machine's units.
func binariesPaths(n *node.Context) []string {
	dirs := []string{n.Operation.Reset.BinariesPath}
	for _, service := range []string{"kubelet", "containerd"} {
		unit := layout.Unit(service)
		if !inspect.Marked(n.Host, unit) {
			continue
		}
		for _, match := range startLine.FindAllStringSubmatch(n.Host.ReadLine(unit), -1) {
			if dir := filepath.Dir(match[1]); !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

var startLine = regexp.MustCompile(`(?m)^ExecStart=(/\S+)`)

// cniPaths returns the folders of the network plugins, likewise; that of the join is in containerd's configuration.
func cniPaths(n *node.Context) []string {
	dirs := []string{n.Operation.Reset.CNIBinariesPath}
	if !inspect.Marked(n.Host, layout.ContainerdConfig) {
		return dirs
	}
	for _, match := range pluginsLine.FindAllStringSubmatch(n.Host.ReadLine(layout.ContainerdConfig), -1) {
		if dir := match[1]; !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// pluginsLine matches the line with one folder, in all versions of the configuration.
var pluginsLine = regexp.MustCompile(`(?m)^\s*bin_dirs? = \[?['"]([^'"]+)['"]\]?`)
