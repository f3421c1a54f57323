package reset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"argosy.dev/argosy/pkg/node/layout"
)

// dataDir is a folder with data of a node.
type dataDir struct {
	path string
	// owns reports whether a child of this name is the node's; nil when all are.
	owns func(child string) bool
	// made reports that a folder of which only children are the node's is removed with the last of them.
	made bool
}

// nodeChildren match the names that a node's programs give in the folders of nodeDirs. They count where the owner put a
// folder on another disk, and may have more on that: kubelets up to 1.37 for the first, of which the folder seccomp is
// the owner's, kubeadm for the second.
var nodeChildren = map[string]*regexp.Regexp{
	layout.KubeletDir: regexp.MustCompile(`^(pods|plugins|plugins_registry|pod-resources|pods-api|device-plugins|pki` +
		`|checkpoints|image_manager|plugin-containers|.*_manager_state|.*_pods_state|dra_health_state` +
		`|graceful_node_shutdown_state|config\.yaml|instance-config\.yaml|kubeadm-flags\.env|\.argosy-.*\.tmp)$`),
	layout.KubernetesDir:  regexp.MustCompile(`^(manifests|pki|tmp|patches|.*kubelet\.conf)$`),
	"/var/log/pods":       regexp.MustCompile(`^[^_]+_[^_]+_[0-9a-f-]{32,36}$`),
	"/var/log/containers": regexp.MustCompile(`^[^_]+_[^_]+_.+\.log$`),
}

// nodeData returns the data in one of nodeDirs: all of it, unless the owner has moved it.
func (t *tree) nodeData(dir string) dataDir {
	real, err := t.resolve(dir)
	if err != nil || !t.stays(dir, real) {
		return dataDir{path: dir}
	}
	return dataDir{path: dir, owns: nodeChildren[dir].MatchString}
}

// children returns the node's children of a folder that has others too, and the folder's real path.
func (t *tree) children(dir dataDir) (real string, names []string, err error) {
	path, err := filepath.EvalSymlinks(t.host.Path(dir.path))
	if err != nil {
		return "", nil, fmt.Errorf("resolving %q: %w", dir.path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", nil, fmt.Errorf("listing %q: %w", dir.path, err)
	}
	real = filepath.Join("/", strings.TrimPrefix(path, t.host.Root))
	for _, entry := range entries {
		if dir.owns(entry.Name()) {
			names = append(names, filepath.Join(real, entry.Name()))
		}
	}
	return real, names, nil
}

// leftIn reports whether clearIn would find anything to remove.
func (t *tree) leftIn(dir dataDir) bool {
	if dir.owns == nil {
		return t.left(dir.path)
	}
	_, names, err := t.children(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	for _, name := range names {
		info, err := os.Lstat(t.host.Path(name))
		if err != nil || !info.IsDir() || t.removable(name, t.table.own[name]) {
			return true
		}
	}
	return false
}

// clearIn removes the node's data from a folder.
func (t *tree) clearIn(ctx context.Context, dir dataDir) error {
	if dir.owns == nil {
		return t.clear(ctx, dir.path)
	}
	real, names, err := t.children(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	folder, err := os.OpenRoot(t.host.Path(real))
	if err != nil {
		return fmt.Errorf("removing data in %q: %w", dir.path, err)
	}
	defer folder.Close()
	for _, name := range names {
		if _, err := t.remove(ctx, folder, name, t.table.own[name]); err != nil {
			return fmt.Errorf("removing data in %q: %w", dir.path, err)
		}
	}
	if dir.made && !t.stays(dir.path, real) {
		prune(t.host, real)
	}
	return nil
}

// mountsIn lists the mounts in a folder's data, latest first.
func (t *tree) mountsIn(dir dataDir) ([]string, error) {
	if dir.owns == nil {
		real, err := t.resolve(dir.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return t.table.below(real), err
	}
	real, _, err := t.children(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, point := range t.table.below(real) {
		child, _, _ := strings.Cut(strings.TrimPrefix(point, strings.TrimSuffix(real, "/")+"/"), "/")
		if dir.owns(child) {
			found = append(found, point)
		}
	}
	return found, nil
}
