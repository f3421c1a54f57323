package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Replace puts a second name of a file, or a copy of it, in the place of another by rename, so that a program that
// runs keeps its own file. Both are paths on the machine.
func (h *Host) Replace(from, to string) error {
	if err := h.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp := TempName(h.Path(to))
	_ = os.Remove(temp)
	err := h.Changing(OpLink, to)
	if err == nil {
		err = linkOrCopy(h.Path(from), temp)
	}
	if err != nil {
		_ = os.Remove(temp)
		return h.Explain(to, fmt.Errorf("linking %q to %q: %w", to, from, err))
	}
	err = h.rename(temp, to, true)
	// Renaming one name of a file onto another of the same file does nothing at all.
	_ = os.Remove(temp)
	return err
}

// linkOrCopy gives a file a second name, or copies it where that is not possible. The name must be free.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK) {
		return copyFile(from, to)
	}
	return err
}

// copyFile copies content, mode and time, and has them on the disk.
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
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	// The umask does not decide who may run it. The time tells an intact copy, so it is set before the sync.
	err = errors.Join(err, target.Chmod(info.Mode().Perm()), os.Chtimes(to, info.ModTime(), info.ModTime()))
	return errors.Join(err, target.Sync(), target.Close())
}
