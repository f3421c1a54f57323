package reset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/original"
)

// dataOfOwner lists the folders of containerd in which there was data before Argosy. They stay: images and snapshots of
// namespaces share one store, so those of pods cannot be told from the owner's. When the note is damaged, every folder
// with images counts.
func dataOfOwner(h *host.Host) []string {
	note, err := original.Read(h)
	if errors.Is(err, node.ErrUnreadable) {
		return slices.DeleteFunc(inspect.ContainerdRoots(h), func(dir string) bool {
			return !inspect.HoldsImages(h, dir)
		})
	}
	if err != nil || note.Containerd == nil {
		return nil
	}
	// Argosy's containerd does not use a folder that only its owner's configuration named.
	used := containerdDirs(h)
	return slices.DeleteFunc(note.Containerd.Data, func(dir string) bool { return !slices.Contains(used, dir) })
}

// keptData returns a remark on data of containerd that stays.
func keptData(h *host.Host) string {
	dirs := dataOfOwner(h)
	if len(dirs) == 0 {
		return ""
	}
	why := "since there was data in it before Argosy"
	if _, err := original.Read(h); err != nil {
		why = "since the note that tells whether there was data in it before Argosy cannot be read"
	}
	return fmt.Sprintf("; %s stays, %s; images of pods are in it in the namespace %s",
		strings.Join(dirs, ", "), why, podNamespace)
}

// startContainerd starts the owner's containerd if it ran before Argosy's took its place, and returns a remark. A
// failed start does not fail the reset: nothing of a node is left.
func startContainerd(ctx context.Context, n *node.Context) string {
	note, err := readNote(n.Host)
	if err != nil || note.Containerd == nil || !note.Containerd.Active {
		return ""
	}
	unit := inspect.UnitFile(n.Host, "containerd.service")
	if unit == "" || inspect.Masked(n.Host, unit) {
		return "; the containerd that ran before Argosy's has no unit any more"
	}
	// A reset that was killed before may have left systemd with Argosy's unit in memory.
	_, err = n.Host.Runner.Run(ctx, systemctl(n, "daemon-reload"))
	if err == nil {
		_, err = n.Host.Runner.Run(ctx, systemctl(n, "start", "containerd.service"))
	}
	if err != nil {
		return fmt.Sprintf("; the containerd of %s ran before Argosy's and cannot be started: %v", unit, err)
	}
	return fmt.Sprintf("; the containerd of %s runs again; start the services that need it, such as docker.service",
		unit)
}
