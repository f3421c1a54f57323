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

// syncKubeadm has on the disk what kubeadm has just written, which syncs nothing itself. Before that, no note may
// tell that the machine has joined or was upgraded: after a loss of power the files would be there, and empty.
func syncKubeadm(h *host.Host, ca string) error {
	dirs := []string{
		layout.KubernetesDir, layout.KubernetesDir + "/pki", filepath.Dir(ca),
		layout.KubeletDir, layout.KubeletDir + "/pki",
	}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(h.Path(dir))
		for _, entry := range entries {
			if !entry.Type().IsRegular() {
				continue
			}
			if err := h.Sync(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
		h.Renamed(dir, filepath.Dir(dir))
	}
	return h.SyncFolders()
}

// lostCA is where the cluster's certificate authority is to be and is not, or lost its content with the power; ""
// when it is there. The kubelet does not start without it.
func lostCA(c *node.Context) string {
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
