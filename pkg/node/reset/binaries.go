package reset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// source is an installed file and the bundle's file that it came from, as paths on the machine.
type source struct{ stored, installed string }

// sources returns the installed files of every bundle that is unpacked beneath binariesPath.
func sources(n *node.Context, binariesPath string) []source {
	var all []source
	folders, _ := filepath.Glob(n.Host.Path(filepath.Join(layout.Store(binariesPath), "*")))
	for _, folder := range folders {
		manifest, err := bundle.ReadManifest(folder)
		if err != nil {
			continue // one that was never unpacked whole was never installed from
		}
		dir := strings.TrimPrefix(folder, n.Host.Root)
		for _, file := range manifest.Files {
			name := strings.TrimPrefix(file.Path, "release/")
			stored := filepath.Join(dir, file.Path)
			if plugin, is := strings.CutPrefix(name, "cni/bin/"); is {
				for _, path := range cniPaths(n) {
					all = append(all, source{stored, filepath.Join(path, plugin)})
				}
			} else {
				all = append(all, source{stored, filepath.Join(binariesPath, name)})
			}
		}
	}
	return all
}

// sameFile reports whether two files are the same, as installing does: by inode, or by size and time where the file had
// to be copied.
func sameFile(h *host.Host, one, other string) bool {
	a, err := os.Stat(h.Path(one))
	if err != nil {
		return false
	}
	b, err := os.Lstat(h.Path(other))
	if err != nil {
		return false
	}
	return os.SameFile(a, b) || b.Mode().IsRegular() && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func findBinaries(_ context.Context, n *node.Context) ([]string, error) {
	back, err := readOriginals(n, true)
	if err != nil {
		return nil, err
	}
	found := back.find()
	for _, dir := range binariesPaths(n) {
		if n.Host.Exists(layout.Store(dir)) {
			found = append(found, "binaries from "+layout.Store(dir))
		}
		found = append(found, otherAgents(n.Host, dir)...)
	}
	return append(found, tempFiles(n.Host, append(binariesPaths(n), cniPaths(n)...)...)...), nil
}

// agentName matches the names of argosy-node on a machine, also while it arrives.
var agentName = regexp.MustCompile(`^argosy-node-[0-9a-f]{16}(\.partial)?$`)

// otherAgents returns the argosy-node programs of other plugins. The running one stays, since it reports this
// operation's end.
func otherAgents(h *host.Host, dir string) []string {
	self, _ := os.Stat("/proc/self/exe")
	entries, _ := os.ReadDir(h.Path(dir))
	var found []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && agentName.MatchString(entry.Name()) && !os.SameFile(info, self) {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	return found
}

// removeBinaries removes files that are as a bundle has them; a file that replaced one stays. It restores originals.
func removeBinaries(ctx context.Context, n *node.Context) (string, error) {
	back, err := readOriginals(n, true)
	if err != nil {
		return "", err
	}
	removed := len(back.due)
	restored, edited, err := back.restore(n.Host)
	if err != nil {
		return "", err
	}
	for _, dir := range binariesPaths(n) {
		all := sources(n, dir)
		for _, one := range all {
			// Versions before the note kept originals in a folder of their own.
			if back.noted(one.installed) || !sameFile(n.Host, one.stored, one.installed) {
				continue
			}
			again, err := restoreOriginal(n.Host, all, dir, one.installed)
			if err != nil {
				return "", err
			}
			if again {
				restored++
			}
			removed++
		}
		files, err := newTree(n.Host)
		if err != nil {
			return "", err
		}
		// Originals have to be on the disk before the folder goes in which they were kept.
		if err := n.Host.SyncFolders(); err != nil {
			return "", err
		}
		if err := errors.Join(files.clear(ctx, layout.Store(dir)),
			n.Host.Remove(otherAgents(n.Host, dir)...)); err != nil {
			return "", err
		}
	}
	if err := n.Host.Remove(tempFiles(n.Host, append(binariesPaths(n), cniPaths(n)...)...)...); err != nil {
		return "", err
	}
	for _, dir := range cniPaths(n) {
		pruneMade(n.Host, back.note, dir, filepath.Dir(dir))
	}
	detail := count.Of(removed, "binary") + " removed"
	if restored > 0 {
		detail += ", " + count.Of(restored, "original") + " restored"
	}
	return detail + editsRemark(edited), nil
}

// editsRemark returns a remark on files of Argosy's that were edited.
func editsRemark(edited []string) string {
	if len(edited) == 0 {
		return ""
	}
	return "; edits on the machine are kept as " + strings.Join(edited, ", ")
}

// restoreOriginal restores the original of an installed file, or removes the file if there was none.
func restoreOriginal(h *host.Host, all []source, binariesPath, installed string) (bool, error) {
	before := filepath.Join(layout.Previous(binariesPath), filepath.Base(installed))
	if !h.Exists(before) || isOurs(h, all, before) {
		return false, h.Remove(installed)
	}
	if err := h.Replace(before, installed); err != nil {
		return false, fmt.Errorf("restoring %q: %w", installed, err)
	}
	return true, nil
}

// isOurs reports whether a file came from a bundle.
func isOurs(h *host.Host, all []source, file string) bool {
	for _, one := range all {
		if filepath.Base(one.stored) == filepath.Base(file) && sameFile(h, one.stored, file) {
			return true
		}
	}
	return false
}
