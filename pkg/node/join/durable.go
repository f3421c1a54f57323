package join

import (
	"bytes"
	"os"
	"path/filepath"

	"argosy.dev/argosy/pkg/node/host"
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

// lost reports whether a file's content went with the power: it has its name, and nothing or zeros in it.
func lost(content []byte) bool { return len(bytes.Trim(content, "\x00")) == 0 }
