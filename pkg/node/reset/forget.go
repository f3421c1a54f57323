package reset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// records returns the files in Argosy's own folder, without the locks, which are held, and this operation, whose status
// is still read.
func records(n *node.Context) []string {
	keep := []string{spec.OperationsDir, n.Store.Dir(n.Operation.ID), spec.LockFile, spec.StartLockFile}
	var found []string
	for _, dir := range []string{spec.Root, spec.OperationsDir} {
		entries, _ := os.ReadDir(n.Host.Path(dir))
		for _, entry := range entries {
			name := filepath.Join(dir, entry.Name())
			if !slices.Contains(keep, name) && !strings.HasPrefix(name, unreadableNote) {
				found = append(found, name)
			}
		}
	}
	return found
}

func findRecords(_ context.Context, n *node.Context) ([]string, error) { return records(n), nil }

// removeRecords removes the record of the node, and the folders of earlier operations.
func removeRecords(ctx context.Context, n *node.Context) (string, error) {
	files, err := newTree(n.Host)
	if err != nil {
		return "", err
	}
	started := startContainerd(ctx, n)
	remark, err := setAsideNote(n.Host)
	if err != nil {
		return "", err
	}
	for _, name := range records(n) {
		if err := files.clear(ctx, name); err != nil {
			return "", err
		}
	}
	removed := "the machine's record is removed; the log of this reset stays in " + n.Store.Dir(n.Operation.ID)
	return removed + started + remark, nil
}

// setAsideNote keeps a damaged note with its copies of originals: their paths are unknown.
func setAsideNote(h *host.Host) (remark string, err error) {
	_, err = original.Read(h)
	if !errors.Is(err, node.ErrUnreadable) {
		return "", err
	}
	aside := unreadableNote
	for i := 2; h.Exists(aside); i++ {
		aside = fmt.Sprintf("%s-%d", unreadableNote, i)
	}
	if err := h.Rename(original.Dir, aside); err != nil {
		return "", err
	}
	return "; the note of the originals cannot be read, so none of them was restored: see " + aside, nil
}
