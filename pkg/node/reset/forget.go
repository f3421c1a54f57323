package reset

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
)

// records are what Argosy's own folder holds beside the locks, which are held, and this operation, which has to tell how
// it ended.
func records(n *node.Context) []string {
	keep := []string{spec.OperationsDir, n.Store.Dir(n.Operation.ID), spec.LockFile, spec.StartLockFile}
	var found []string
	for _, dir := range []string{spec.Root, spec.OperationsDir} {
		entries, _ := os.ReadDir(n.Host.Path(dir))
		for _, entry := range entries {
			if name := filepath.Join(dir, entry.Name()); !slices.Contains(keep, name) {
				found = append(found, name)
			}
		}
	}
	return found
}

func findRecords(_ context.Context, n *node.Context) ([]string, error) { return records(n), nil }

// forget removes the record that says whose node the machine was, and what earlier operations left.
func forget(ctx context.Context, n *node.Context) (string, error) {
	files, err := newTree(n.Host)
	if err != nil {
		return "", err
	}
	for _, name := range records(n) {
		if err := files.clear(ctx, name); err != nil {
			return "", err
		}
	}
	return "the machine remembers no cluster; what this operation did stays in " + n.Store.Dir(n.Operation.ID), nil
}
