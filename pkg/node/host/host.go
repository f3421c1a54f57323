// Package host is the machine as the phases see it: its files beneath a root, and the programs that may be started on it.
// It knows nothing of Kubernetes. Tests give it a folder as root and a fake runner, and the phases work the same.
package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Host is a machine.
type Host struct {
	// Root comes before every path; empty on the machine itself.
	Root string
	// Runner starts programs.
	Runner Runner
}

// Local is the machine that this program runs on.
func Local() *Host { return &Host{Runner: Processes{}} }

// Path is where name, an absolute path on the machine, is found.
func (h *Host) Path(name string) string { return filepath.Join(h.Root, name) }

// ReadFile reads a file.
func (h *Host) ReadFile(name string) ([]byte, error) { return os.ReadFile(h.Path(name)) }

// ReadLine reads a file's content without the white space around it; "" when there is no such file.
func (h *Host) ReadLine(name string) string {
	data, _ := h.ReadFile(name)
	return strings.TrimSpace(string(data))
}

// Exists says whether there is something at name, be it a broken link.
func (h *Host) Exists(name string) bool {
	_, err := os.Lstat(h.Path(name))
	return err == nil
}

// Holds says whether the file has exactly this content.
func (h *Host) Holds(name string, content []byte) bool {
	data, err := h.ReadFile(name)
	return err == nil && bytes.Equal(data, content)
}

// WriteFile puts content at name by rename, so that nobody ever sees half of it, and makes the folders above. It says
// whether anything changed: a file that has this content and mode stays untouched.
func (h *Host) WriteFile(name string, content []byte, mode fs.FileMode) (changed bool, err error) {
	path := h.Path(name)
	if info, err := os.Lstat(path); err == nil && info.Mode() == mode && h.Holds(name, content) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("writing %q: %w", name, err)
	}
	temp := TempName(path)
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return false, fmt.Errorf("writing %q: %w", name, err)
	}
	_, err = file.Write(content)
	// The umask does not decide what Argosy's files look like.
	err = errors.Join(err, file.Chmod(mode), file.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return false, fmt.Errorf("writing %q: %w", name, err)
	}
	return true, nil
}

// Sync makes files and folders safe against the loss of power: a file's content, and the names in a folder.
func (h *Host) Sync(names ...string) error {
	for _, name := range names {
		file, err := os.Open(h.Path(name))
		if err == nil {
			err = errors.Join(file.Sync(), file.Close())
		}
		if err != nil {
			return fmt.Errorf("syncing %q: %w", name, err)
		}
	}
	return nil
}

// Remove removes files; those that are not there are fine.
func (h *Host) Remove(names ...string) error {
	for _, name := range names {
		if err := os.Remove(h.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing %q: %w", name, err)
		}
	}
	return nil
}

// Link makes the symbolic link name point to target, by rename.
func (h *Host) Link(target, name string) error {
	path := h.Path(name)
	if got, err := os.Readlink(path); err == nil && got == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("linking %q: %w", name, err)
	}
	temp := TempName(path)
	_ = os.Remove(temp)
	if err := os.Symlink(target, temp); err != nil {
		return fmt.Errorf("linking %q: %w", name, err)
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("linking %q: %w", name, err)
	}
	return nil
}

// TempName is where a file is prepared before it gets its name. It is always the same for a file, so what a crash leaves
// is overwritten by the next attempt; no two processes write the same file at a time.
func TempName(path string) string {
	return filepath.Join(filepath.Dir(path), ".argosy-"+filepath.Base(path)+".tmp")
}

// Overwrite writes into an existing file in place, as the files below /proc and /sys want it.
func (h *Host) Overwrite(name, content string) error {
	file, err := os.OpenFile(h.Path(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}
