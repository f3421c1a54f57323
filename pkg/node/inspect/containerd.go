package inspect

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// containerdRoot is containerd's default folder of data.
const containerdRoot = "/var/lib/containerd"

// ContainerdFolders are the folders that a configuration of containerd gives it in place of its usual ones; empty for
// none.
type ContainerdFolders struct{ Root, State string }

// MovedContainerd reads the folders that the owner's drop-ins name, and these other configurations.
func MovedContainerd(h *host.Host, others ...string) []ContainerdFolders {
	names, _ := filepath.Glob(h.Path(layout.ContainerdDropIns))
	for _, name := range others {
		names = append(names, h.Path(name))
	}
	var moved []ContainerdFolders
	for _, name := range names {
		data, err := os.ReadFile(name)
		var folders ContainerdFolders
		if err == nil && toml.Unmarshal(data, &folders) == nil { // else containerd does not start with it either
			moved = append(moved, folders)
		}
	}
	return moved
}

// ContainerdRoots are the folders in which containerd keeps, or would keep, its data, also by a configuration that is
// not Argosy's.
func ContainerdRoots(h *host.Host) []string {
	var foreign []string
	if !Marked(h, layout.ContainerdConfig) {
		foreign = append(foreign, layout.ContainerdConfig)
	}
	roots := []string{containerdRoot}
	for _, moved := range MovedContainerd(h, foreign...) {
		if root := filepath.Clean(moved.Root); filepath.IsAbs(root) && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots
}

// Snapshotter returns the snapshotter of containerd's CRI plugin, by its configuration and the owner's drop-ins, of
// which the last counts; empty where none is named, which is overlayfs.
func Snapshotter(h *host.Host) string {
	names, _ := filepath.Glob(h.Path(layout.ContainerdDropIns))
	found := ""
	for _, name := range append([]string{h.Path(layout.ContainerdConfig)}, names...) {
		var config struct {
			Plugins struct {
				V2 struct {
					Containerd struct{ Snapshotter string }
				} `toml:"io.containerd.grpc.v1.cri"`
				V3 struct{ Snapshotter string } `toml:"io.containerd.cri.v1.images"`
			}
		}
		data, err := os.ReadFile(name)
		if err != nil || toml.Unmarshal(data, &config) != nil {
			continue
		}
		found = cmp.Or(config.Plugins.V3.Snapshotter, config.Plugins.V2.Containerd.Snapshotter, found)
	}
	return found
}

// HoldsImages reports whether there is more in a root of containerd than the databases and the uuid that it makes at
// its first start. Only containerd's own children count: the owner may have the folder on a disk of more.
func HoldsImages(h *host.Host, root string) bool {
	children, _ := filepath.Glob(filepath.Join(h.Path(root), "io.containerd.*"))
	found := false
	for _, child := range children {
		// A walk does not follow the link that it begins at.
		if real, err := filepath.EvalSymlinks(child); err == nil {
			child = real
		}
		_ = filepath.WalkDir(child, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && !strings.HasSuffix(path, ".db") && entry.Name() != "uuid" {
				found = true
				return fs.SkipAll
			}
			return nil
		})
	}
	return found
}
