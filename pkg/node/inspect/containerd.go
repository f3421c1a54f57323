package inspect

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// containerdRoot is where containerd keeps its data unless told otherwise.
const containerdRoot = "/var/lib/containerd"

// ContainerdRoots are the folders in which containerd keeps, or would keep, its data: a drop-in of the owner's may
// name another, or a configuration that is not Argosy's.
func ContainerdRoots(h *host.Host) []string {
	roots := []string{containerdRoot}
	names, _ := filepath.Glob(h.Path(layout.ContainerdDropIns))
	if !Marked(h, layout.ContainerdConfig) {
		names = append(names, h.Path(layout.ContainerdConfig))
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		var settings struct{ Root string }
		if err != nil || toml.Unmarshal(data, &settings) != nil {
			continue // containerd does not start with it either
		}
		if root := filepath.Clean(settings.Root); filepath.IsAbs(root) && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots
}

// HoldsImages reports whether there is more in a root of containerd than the databases and the uuid that it makes at
// its first start. In a folder that the owner chose, only containerd's own children count.
func HoldsImages(h *host.Host, root string) bool {
	children, _ := filepath.Glob(filepath.Join(h.Path(root), "io.containerd.*"))
	if root == containerdRoot {
		children = []string{h.Path(root)}
	}
	found := false
	for _, child := range children {
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
