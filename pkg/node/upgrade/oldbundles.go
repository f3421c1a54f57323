package upgrade

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/layout"
)

// discarded begins the name of a bundle's folder that is to be removed.
const discarded = ".old-"

// bundleFolder matches the name of a bundle's folder, also while it arrives and when it is to be removed.
var bundleFolder = regexp.MustCompile(`^(\.old-)?(\.unpack-)?[0-9a-f]{64}$`)

// thenRemoveOldBundles returns a phase, the last of an upgrade, after which bundles of older versions are removed. That
// is no phase of its own: a bundle too many is no reason to upgrade a machine.
func thenRemoveOldBundles(phase node.Phase) node.Phase {
	apply := phase.Apply
	phase.Apply = func(ctx context.Context, c *node.Context) (string, error) {
		detail, err := apply(ctx, c)
		if err != nil {
			return detail, err
		}
		removeOldBundles(c)
		return detail, nil
	}
	return phase
}

// removeOldBundles removes all bundles but the machine's own and that of the kept files. It renames them at once, while
// no other operation can use one, and removes them after the last phase.
func removeOldBundles(c *node.Context) {
	store := layout.Store(c.Operation.Join.BinariesPath)
	keep := map[string]bool{c.Operation.Join.Bundle.SHA256: true}
	known, err := readKept(c.Host)
	if err != nil {
		fmt.Fprintf(c.Log, "looking for older bundles: %v\n", err)
		return
	}
	if known != nil {
		keep[known.Record.Bundle] = true
	}
	entries, _ := os.ReadDir(c.Host.Path(store))
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() || !bundleFolder.MatchString(name) || keep[name] {
			continue
		}
		old := filepath.Join(store, name)
		if !strings.HasPrefix(name, discarded) {
			old = filepath.Join(store, discarded+name)
			if err := c.Host.Rename(filepath.Join(store, name), old); err != nil {
				fmt.Fprintf(c.Log, "removing an older bundle: %v\n", err)
				continue
			}
		}
		c.Defer(func() { _ = c.Host.RemoveAll(old) })
	}
}
