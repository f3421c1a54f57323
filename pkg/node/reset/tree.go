package reset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
)

// tree removes folders with their content. It follows no symbolic link and enters no mount beneath, except those of the
// machine's owner: they are emptied and stay, as does a folder that is a mount itself. A folder that is a link, as
// owners make it to have data on another disk, is emptied, and folder and link stay.
type tree struct {
	host  *host.Host
	table mountTable
}

func newTree(h *host.Host) (*tree, error) {
	table, err := readMounts(h)
	return &tree{host: h, table: table}, err
}

// resolve returns a folder's real path; its error wraps fs.ErrNotExist when there is none.
func (t *tree) resolve(dir string) (string, error) {
	path, err := filepath.EvalSymlinks(t.host.Path(dir))
	if err != nil {
		return "", fmt.Errorf("resolving %q: %w", dir, err)
	}
	real := filepath.Join("/", strings.TrimPrefix(path, t.host.Root))
	// A node's data are never directly in a system folder; a link to one is a mistake or worse.
	if strings.Count(real, "/") < 2 || slices.Contains(systemDirs, real) {
		return "", errclass.Errorf(errclass.Permanent, "resolving %q: it leads to %q, which Argosy does not empty; "+
			"remove that link", dir, real)
	}
	return real, nil
}

// systemDirs are folders two levels deep in which all software has its own folders.
var systemDirs = []string{
	"/etc/systemd", "/run/systemd", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin", "/usr/share", "/usr/src",
	"/var/backups", "/var/cache", "/var/lib", "/var/local", "/var/log", "/var/mail", "/var/opt", "/var/run",
	"/var/spool", "/var/tmp",
}

// stays reports whether a folder is kept when it is empty.
func (t *tree) stays(dir, real string) bool { return dir != real || t.table.mounted[real] }

// left reports whether clear would find anything to remove.
func (t *tree) left(dir string) bool {
	real, err := t.resolve(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return t.removable(real, t.stays(dir, real))
}

func (t *tree) removable(dir string, stays bool) bool {
	if !stays && !t.table.ownsBelow(dir) {
		return true
	}
	entries, err := os.ReadDir(t.host.Path(dir))
	if err != nil {
		return true
	}
	for _, entry := range entries {
		if name := filepath.Join(dir, entry.Name()); !entry.IsDir() || t.removable(name, t.table.own[name]) {
			return true
		}
	}
	return false
}

// clear removes a folder's content, and the folder unless it stays. A missing one is no error.
func (t *tree) clear(ctx context.Context, dir string) error {
	real, err := t.resolve(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	above, err := os.OpenRoot(t.host.Path(filepath.Dir(real)))
	if err != nil {
		return fmt.Errorf("removing %q: %w", dir, err)
	}
	defer above.Close()
	if _, err := t.remove(ctx, above, real, t.stays(dir, real)); err != nil {
		return fmt.Errorf("removing %q: %w", dir, err)
	}
	return nil
}

// remove removes the file or folder at name, which is an entry of above, and reports whether it is gone.
func (t *tree) remove(ctx context.Context, above *os.Root, name string, stays bool) (gone bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if t.table.mounted[name] && !stays {
		return false, errclass.Errorf(errclass.Permanent, "something is mounted on %q; look at findmnt, and unmount it",
			name)
	}
	base := filepath.Base(name)
	info, err := above.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return true, t.removeOne(above, name)
	}
	emptied, err := t.empty(ctx, above, name)
	if err != nil || stays || !emptied {
		return false, err
	}
	return true, t.removeOne(above, name)
}

// removeOne removes a file or an empty folder at name, which is an entry of above.
func (t *tree) removeOne(above *os.Root, name string) error {
	if err := t.host.Changing(host.OpRemove, name); err != nil {
		return err
	}
	t.host.Renamed(filepath.Dir(name))
	return above.Remove(filepath.Base(name))
}

// empty removes the content of the folder at name, and reports whether nothing stayed.
func (t *tree) empty(ctx context.Context, above *os.Root, name string) (bool, error) {
	// An os.Root does not leave its folder, even if a folder is replaced by a link at this moment.
	folder, err := above.OpenRoot(filepath.Base(name))
	if err != nil {
		return false, err
	}
	defer folder.Close()
	entries, err := fs.ReadDir(folder.FS(), ".")
	if err != nil {
		return false, err
	}
	emptied := true
	for _, entry := range entries {
		path := filepath.Join(name, entry.Name())
		gone, err := t.remove(ctx, folder, path, t.table.own[path])
		if err != nil {
			return false, err
		}
		emptied = emptied && gone
	}
	return emptied, nil
}

// prune removes folders that are empty, in this order; others stay.
func prune(h *host.Host, dirs ...string) {
	for _, dir := range dirs {
		_ = h.RemoveOne(dir) // a folder that is not empty refuses
	}
}
