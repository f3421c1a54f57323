package join

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// syncKubeadm syncs the files that kubeadm has just written, since kubeadm syncs none. It must run before a note that
// the machine has joined or was upgraded: after a loss of power the files could be empty.
func syncKubeadm(h *host.Host, ca string) error {
	files := []string{ca}
	for _, dir := range []string{
		layout.KubernetesDir, layout.KubernetesDir + "/pki", layout.KubeletDir, layout.KubeletDir + "/pki",
	} {
		entries, _ := os.ReadDir(h.Path(dir))
		for _, entry := range entries {
			if name := filepath.Join(dir, entry.Name()); entry.Type().IsRegular() && name != ca {
				files = append(files, name)
			}
		}
		h.Renamed(dir, filepath.Dir(dir))
	}
	h.Renamed(filepath.Dir(ca))
	return errors.Join(h.Sync(files...), h.SyncFolders())
}

// missingCA returns the path of the cluster's certificate authority if the file is missing, or lost its content with
// the power; else "". The kubelet does not start without it.
func missingCA(c *node.Context) string {
	name := caPath(c.Operation.Join)
	if record, err := c.Store.Record(); err == nil && record != nil && record.AtJoin.CACertPath != "" {
		name = record.AtJoin.CACertPath
	}
	content, err := c.Host.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && inspect.Lost(content) {
		return name
	}
	return ""
}
