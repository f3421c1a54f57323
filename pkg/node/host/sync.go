package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// folders has the folders in which names changed since they were synced. A phase changes many names in few folders, so
// these are synced once, before the next step relies on them.
type folders struct {
	mu    sync.Mutex
	names map[string]bool
}

func (f *folders) add(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names == nil {
		f.names = map[string]bool{}
	}
	for _, name := range names {
		f.names[name] = true
	}
}

// take returns the folders, sorted, and forgets them.
func (f *folders) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := slices.Sorted(maps.Keys(f.names))
	f.names = nil
	return names
}

// Renamed notes that a phase has changed names in these folders by itself, for SyncFolders.
func (h *Host) Renamed(folders ...string) { h.folders.add(folders...) }

// SyncFolders syncs the folders of all names that were made, changed or removed so far. The engine calls it after each
// phase; a phase calls it where one change must be on the disk before the next one.
func (h *Host) SyncFolders() error {
	names := h.folders.take()
	for i, name := range names {
		// A folder that is gone was removed from one above it.
		for !h.Exists(name) && name != filepath.Dir(name) {
			name = filepath.Dir(name)
		}
		if i > 0 && slices.Contains(names[:i], name) {
			continue
		}
		if err := h.Sync(name); err != nil {
			h.folders.add(names[i:]...)
			return err
		}
	}
	return nil
}

// Sync syncs files and folders that exist: a file's content, and the names in a folder.
func (h *Host) Sync(names ...string) error {
	for _, name := range names {
		file, err := os.Open(h.Path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			if err = h.Changing(OpSync, name); err == nil {
				err = file.Sync()
			}
			if errors.Is(err, syscall.EINVAL) {
				err = nil // a file system that holds nothing on a disk, see fsync(2)
			}
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			return h.Explain(name, fmt.Errorf("syncing %q: %w", name, err))
		}
	}
	return nil
}
