package original

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"argosy.dev/argosy/pkg/node/host"
)

// clone makes the file at from also stand at to, in the place of the present one: as a second name of it, or as a copy
// on another file system. The copy has owner, mode, time and extended attributes, and is on the disk before it gets its
// name.
func clone(h *host.Host, from, to string) error { return cloneBy(h, from, to, os.Link) }

// cloneBy is clone that first tries to make the file by give.
func cloneBy(h *host.Host, from, to string, give func(from, to string) error) error {
	if err := h.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp := host.TempName(to)
	if err := h.Remove(temp); err != nil {
		return err
	}
	err := h.Changing(host.OpLink, to)
	if err == nil {
		err = give(h.Path(from), h.Path(temp))
	}
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) {
		err = copyWhole(h.Path(from), h.Path(temp))
	}
	if err != nil {
		_ = os.Remove(h.Path(temp))
		return h.Explain(to, fmt.Errorf("copying %q to %q: %w", from, to, err))
	}
	err = h.Rename(temp, to)
	// Renaming one name of a file onto another of the same file does nothing at all.
	_ = os.Remove(h.Path(temp))
	return err
}

func copyWhole(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err == nil {
		err = likeness(source, target, info)
	}
	return errors.Join(err, target.Sync(), target.Close())
}

// likeness gives target the owner, attributes, mode and time of source. A new owner takes away setuid, so the mode is
// set after.
func likeness(source, target *os.File, info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is not known")
	}
	if err := target.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		return err
	}
	if err := copyAttributes(source, target); err != nil {
		return err
	}
	return errors.Join(target.Chmod(info.Mode()), os.Chtimes(target.Name(), info.ModTime(), info.ModTime()))
}

// copyAttributes copies extended attributes, such as a label of SELinux and a file's capabilities. A file system
// without them has none to copy.
func copyAttributes(source, target *os.File) error {
	names := make([]byte, 64<<10)
	n, err := unix.Flistxattr(int(source.Fd()), names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing its attributes: %w", err)
	}
	for _, name := range nullSeparated(names[:n]) {
		value := make([]byte, 64<<10)
		n, err := unix.Fgetxattr(int(source.Fd()), name, value)
		if err == nil {
			err = unix.Fsetxattr(int(target.Fd()), name, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("copying its attribute %q: %w", name, err)
		}
	}
	return nil
}

func nullSeparated(list []byte) []string {
	var names []string
	for start := 0; start < len(list); {
		end := start
		for end < len(list) && list[end] != 0 {
			end++
		}
		names = append(names, string(list[start:end]))
		start = end + 1
	}
	return names
}

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
