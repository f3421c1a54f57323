package reset

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
)

// dataOfOwner are the folders of containerd in which there was data before Argosy. They stay: images and snapshots of
// namespaces share one store, so those of pods cannot be told from the owner's.
func dataOfOwner(h *host.Host) []string {
	note, err := readNote(h)
	if err != nil || note.Containerd == nil {
		return nil
	}
	return note.Containerd.Data
}

// keptData is a remark on data of containerd that stays.
func keptData(h *host.Host) string {
	dirs := dataOfOwner(h)
	if len(dirs) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s stays, since there was data in it before Argosy; "+
		"images of pods are in it in the namespace %s", strings.Join(dirs, ", "), podNamespace)
}

// startContainerd starts the owner's containerd if it ran before Argosy's took its place, and returns a remark. That
// it cannot be started does not fail the reset: nothing of a node is left.
func startContainerd(ctx context.Context, n *node.Context) string {
	note, err := readNote(n.Host)
	if err != nil || note.Containerd == nil || !note.Containerd.Active {
		return ""
	}
	unit := inspect.UnitFile(n.Host, "containerd.service")
	if unit == "" || inspect.Masked(n.Host, unit) {
		return "; the containerd that ran before Argosy's has no unit any more"
	}
	if _, err := n.Host.Runner.Run(ctx, systemctl(n, "start", "containerd.service")); err != nil {
		return fmt.Sprintf("; the containerd of %s ran before Argosy's and cannot be started: %v", unit, err)
	}
	return fmt.Sprintf("; the containerd of %s runs again; start what needs it, such as docker.service", unit)
}
