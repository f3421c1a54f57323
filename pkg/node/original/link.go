package original

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"argosy.dev/argosy/pkg/node/host"
)

// link makes the symbolic link of an entry, with its owner.
func link(h *host.Host, entry *Entry, name string) error {
	if err := h.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp := host.TempName(name)
	if err := h.Remove(temp); err != nil {
		return err
	}
	err := h.Changing(host.OpLink, name)
	if err == nil {
		err = errors.Join(os.Symlink(entry.Target, h.Path(temp)), os.Lchown(h.Path(temp), entry.UID, entry.GID))
	}
	if err != nil {
		_ = os.Remove(h.Path(temp))
		return h.Explain(name, fmt.Errorf("linking %q to %q: %w", name, entry.Target, err))
	}
	return h.Rename(temp, name)
}
