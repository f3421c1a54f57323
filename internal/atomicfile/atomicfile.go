// Package atomicfile writes files by rename: a reader sees the old file or the whole new one, also after a loss of
// power. pkg/node/host does the same on a machine with steps of its own: its tests cut the power between any two of
// them, and it syncs the folders of many files at once.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// File is a file that has another name until Commit. It is in the same folder, so that the rename stays within one
// file system.
type File struct {
	*os.File
	path string
	done bool
}

// Create opens the file that becomes path, readable to its owner alone until Commit gives it its mode. Exactly one of
// Commit and Discard must follow; Discard after Commit does nothing, so that it can be deferred.
func Create(path string) (*File, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp")
	if err != nil {
		return nil, err
	}
	return &File{File: file, path: path}, nil
}

// Commit puts the file at its path, where it replaces a file. Content and name are on the disk when it returns nil. The
// umask does not decide the mode.
func (f *File) Commit(mode fs.FileMode) error {
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return syncFolder(filepath.Dir(f.path))
}

// Discard removes the new file; one that has its path already stays.
func (f *File) Discard() {
	if f.done {
		return
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// Write writes a whole file.
func Write(path string, content []byte, mode fs.FileMode) error {
	file, err := Create(path)
	if err != nil {
		return err
	}
	defer file.Discard()
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Commit(mode)
}

var temporary = regexp.MustCompile(`^\.(.+)-[0-9]+\.tmp$`)

// Leftover reports whether a file's name is one that an interrupted process left behind, and returns the name that the
// file would have got.
func Leftover(name string) (of string, found bool) {
	if parts := temporary.FindStringSubmatch(name); parts != nil {
		return parts[1], true
	}
	return "", false
}

// syncFolder makes a rename outlive the loss of power.
func syncFolder(folder string) error {
	opened, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}
