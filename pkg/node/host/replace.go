package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Replace replaces the file to by a hard link to from, or by a copy on another file system; a copy has the owner, mode,
// time and extended attributes too. It renames, so that a running program keeps its own file. Both are paths on the
// machine.
func (h *Host) Replace(from, to string) error { return h.replace(from, to, linkOrCopy) }

// ReplaceByCopy is Replace without hard links, for files that another program writes in place.
func (h *Host) ReplaceByCopy(from, to string) error { return h.replace(from, to, copyFile) }

func (h *Host) replace(from, to string, create func(from, to string) error) error {
	if err := h.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp := TempName(h.Path(to))
	_ = os.Remove(temp)
	err := h.Changing(OpLink, to)
	if err == nil {
		err = create(h.Path(from), temp)
	}
	if err != nil {
		_ = os.Remove(temp)
		return h.Explain(to, fmt.Errorf("copying %q to %q: %w", from, to, err))
	}
	err = h.rename(temp, to, true)
	// Renaming one name of a file onto another of the same file does nothing at all.
	_ = os.Remove(temp)
	return err
}

// linkOrCopy makes a hard link, or a copy where that is not possible. to must not exist.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) {
		return copyFile(from, to)
	}
	return err
}

// copyFile copies a file with its metadata and syncs the copy. to must not exist.
func copyFile(from, to string) error {
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
		err = copyMetadata(source, target, info)
	}
	return errors.Join(err, target.Sync(), target.Close())
}

// copyMetadata gives target the owner, extended attributes, mode and time of source. A new owner takes away setuid, so
// the mode is set after it. The time tells an intact copy, so it is set before the sync.
func copyMetadata(source, target *os.File, info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner is unknown")
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
	for _, name := range strings.FieldsFunc(string(names[:n]), func(r rune) bool { return r == 0 }) {
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
