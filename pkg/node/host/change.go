package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Change is one change of the file system.
type Change struct {
	Op Op
	// Name is the path on the machine.
	Name string
}

// Op is a kind of change.
type Op string

// The kinds of change.
const (
	OpMkdir  Op = "mkdir"
	OpWrite  Op = "write"
	OpSync   Op = "sync"
	OpRename Op = "rename"
	OpLink   Op = "link"
	OpRemove Op = "remove"
)

// Changing calls Before for a change that a phase makes by itself. After an error the change must not be made.
func (h *Host) Changing(op Op, name string) error {
	if h.Before == nil {
		return nil
	}
	return h.Before(Change{op, name})
}

// MkdirAll makes a folder and those above it.
func (h *Host) MkdirAll(name string, mode fs.FileMode) error {
	var made []string
	for dir := filepath.Clean(name); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(h.Path(dir)); err == nil || dir == filepath.Dir(dir) {
			break
		}
		made = append(made, filepath.Dir(dir))
	}
	if len(made) > 0 {
		if err := h.Changing(OpMkdir, name); err != nil {
			return h.Explain(name, fmt.Errorf("making folder %q: %w", name, err))
		}
	}
	if err := os.MkdirAll(h.Path(name), mode); err != nil {
		return h.Explain(name, fmt.Errorf("making folder %q: %w", name, err))
	}
	h.folders.add(made...)
	return nil
}

// WriteFile puts content at name by rename, so that no reader sees half of it, and makes the folders above. It
// reports whether anything changed: a file that has this content and mode stays untouched.
//
// The content is on the disk before it gets its name, so that after a loss of power there is the whole file or the one
// of before. The name itself is on the disk after SyncFolders.
func (h *Host) WriteFile(name string, content []byte, mode fs.FileMode) (changed bool, err error) {
	return h.writeFile(name, content, mode, true)
}

// WriteProgress is WriteFile without a sync, for files that no later step relies on. After a loss of power such a
// file may be empty.
func (h *Host) WriteProgress(name string, content []byte, mode fs.FileMode) (changed bool, err error) {
	return h.writeFile(name, content, mode, false)
}

func (h *Host) writeFile(name string, content []byte, mode fs.FileMode, durable bool) (changed bool, err error) {
	path := h.Path(name)
	if info, err := os.Lstat(path); err == nil && info.Mode() == mode && h.Holds(name, content) {
		return false, nil
	}
	if err := h.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return false, fmt.Errorf("writing %q: %w", name, err)
	}
	temp := TempName(path)
	if err := h.prepare(name, temp, content, mode, durable); err != nil {
		_ = os.Remove(temp)
		return false, h.Explain(name, fmt.Errorf("writing %q: %w", name, err))
	}
	return true, h.rename(temp, name, durable)
}

// prepare writes the file at temp.
func (h *Host) prepare(name, temp string, content []byte, mode fs.FileMode, durable bool) error {
	if err := h.Changing(OpWrite, name); err != nil {
		return err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	// The umask does not decide the mode of Argosy's files.
	err = errors.Join(err, file.Chmod(mode))
	if err == nil && durable {
		if err = h.Changing(OpSync, name); err == nil {
			err = file.Sync()
		}
	}
	return errors.Join(err, file.Close())
}

// rename gives a file that was prepared at temp its name.
func (h *Host) rename(temp, name string, durable bool) error {
	err := h.Changing(OpRename, name)
	if err == nil {
		err = os.Rename(temp, h.Path(name))
	}
	if err != nil {
		_ = os.Remove(temp)
		return h.Explain(name, fmt.Errorf("naming %q: %w", name, err))
	}
	if durable {
		h.folders.add(filepath.Dir(name))
	}
	return nil
}

// Rename gives a file or folder another name. Its error wraps fs.ErrNotExist when there is none.
func (h *Host) Rename(from, to string) error {
	err := h.Changing(OpRename, to)
	if err == nil {
		err = os.Rename(h.Path(from), h.Path(to))
	}
	if err != nil {
		return h.Explain(to, fmt.Errorf("renaming %q to %q: %w", from, to, err))
	}
	h.folders.add(filepath.Dir(from), filepath.Dir(to))
	return nil
}

// Remove removes files that exist.
func (h *Host) Remove(names ...string) error {
	for _, name := range names {
		if !h.Exists(name) {
			continue
		}
		if err := h.RemoveOne(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// RemoveOne removes a file or an empty folder, which must be there.
func (h *Host) RemoveOne(name string) error {
	err := h.Changing(OpRemove, name)
	if err == nil {
		err = os.Remove(h.Path(name))
	}
	if err != nil {
		return h.Explain(name, fmt.Errorf("removing %q: %w", name, err))
	}
	h.folders.add(filepath.Dir(name))
	return nil
}

// RemoveAll removes a file, or a folder with its content, if it exists.
func (h *Host) RemoveAll(name string) error {
	if !h.Exists(name) {
		return nil
	}
	err := h.Changing(OpRemove, name)
	if err == nil {
		err = os.RemoveAll(h.Path(name))
	}
	if err != nil {
		return h.Explain(name, fmt.Errorf("removing %q: %w", name, err))
	}
	h.folders.add(filepath.Dir(name))
	return nil
}

// Link makes the symbolic link name point to target, by rename.
func (h *Host) Link(target, name string) error {
	path := h.Path(name)
	if got, err := os.Readlink(path); err == nil && got == target {
		return nil
	}
	if err := h.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("linking %q: %w", name, err)
	}
	temp := TempName(path)
	_ = os.Remove(temp)
	err := h.Changing(OpLink, name)
	if err == nil {
		err = os.Symlink(target, temp)
	}
	if err != nil {
		return h.Explain(name, fmt.Errorf("linking %q: %w", name, err))
	}
	return h.rename(temp, name, true)
}

// TempName returns the path at which a file is prepared before it gets its name. It is always the same for a file, so
// the next attempt overwrites a file left by a crash; no two processes write the same file at a time.
func TempName(path string) string {
	return filepath.Join(filepath.Dir(path), ".argosy-"+filepath.Base(path)+".tmp")
}
