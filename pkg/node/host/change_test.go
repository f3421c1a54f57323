package host

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

// changes makes a host record its changes.
func changes(h *Host) *[]Change {
	var seen []Change
	h.Before = func(change Change) error {
		seen = append(seen, change)
		return nil
	}
	return &seen
}

func TestContentIsSyncedBeforeRenameAndFoldersOnce(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	seen := changes(h)
	for _, name := range []string{"/etc/new/a", "/etc/new/b"} {
		_, err := h.WriteFile(name, []byte("content"), 0o600)
		assert.NilError(t, err)
	}
	assert.NilError(t, h.Link("/etc/new/a", "/etc/new/link"))
	assert.NilError(t, h.SyncFolders())
	assert.NilError(t, h.SyncFolders())
	assert.DeepEqual(t, *seen, []Change{
		{OpMkdir, "/etc/new"},
		{OpWrite, "/etc/new/a"},
		{OpSync, "/etc/new/a"},
		{OpRename, "/etc/new/a"},
		{OpWrite, "/etc/new/b"},
		{OpSync, "/etc/new/b"},
		{OpRename, "/etc/new/b"},
		{OpLink, "/etc/new/link"},
		{OpRename, "/etc/new/link"},
		// The folders above hold the name of the new one.
		{OpSync, "/"},
		{OpSync, "/etc"},
		{OpSync, "/etc/new"},
	})
}

func TestProgressIsWrittenWithoutASync(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	seen := changes(h)
	_, err := h.WriteProgress("/status", []byte("running"), 0o600)
	assert.NilError(t, err)
	assert.NilError(t, h.SyncFolders())
	assert.DeepEqual(t, *seen, []Change{{OpWrite, "/status"}, {OpRename, "/status"}})
}

func TestRemovalsAreSyncedWhenTheirFolderIsGone(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	for _, name := range []string{"/a/b/one", "/a/b/two"} {
		_, err := h.WriteFile(name, nil, 0o600)
		assert.NilError(t, err)
	}
	assert.NilError(t, h.SyncFolders())
	seen := changes(h)
	assert.NilError(t, h.Rename("/a/b/one", "/a/three"))
	assert.NilError(t, h.Remove("/a/b/two", "/a/b/none"))
	assert.NilError(t, h.RemoveAll("/a/b"))
	assert.ErrorIs(t, h.Rename("/a/none", "/a/four"), fs.ErrNotExist)
	assert.NilError(t, h.SyncFolders())
	assert.DeepEqual(t, (*seen)[len(*seen)-1], Change{OpSync, "/a"})
	synced := 0
	for _, change := range *seen {
		if change.Op == OpSync {
			synced++
		}
	}
	assert.Equal(t, synced, 1)
}

func TestAChangeThatFailsLeavesWhatWasThere(t *testing.T) {
	broken := errors.New("no space left on device")
	for _, op := range []Op{OpWrite, OpSync, OpRename} {
		h := &Host{Root: t.TempDir()}
		_, err := h.WriteFile("/etc/a", []byte("before"), 0o600)
		assert.NilError(t, err)
		h.Before = func(change Change) error {
			if change.Op == op {
				return broken
			}
			return nil
		}
		_, err = h.WriteFile("/etc/a", []byte("after"), 0o600)
		assert.ErrorIs(t, err, broken)
		assert.Assert(t, h.Holds("/etc/a", []byte("before")))
		entries, err := os.ReadDir(h.Path("/etc"))
		assert.NilError(t, err)
		assert.Equal(t, len(entries), 1)
	}
}

func TestDiskErrorNamesFreeSpace(t *testing.T) {
	for errno, says := range map[syscall.Errno]string{
		syscall.ENOSPC: "no space left on /", syscall.EDQUOT: "the quota is used up on /",
		syscall.EROFS: "the file system is read-only on /", syscall.EIO: "the disk fails on /",
	} {
		h := &Host{Root: t.TempDir(), Before: func(Change) error { return errno }}
		_, err := h.WriteFile("/var/lib/argosy/node.json", nil, 0o600)
		var disk *DiskError
		assert.Assert(t, errors.As(err, &disk), "%v", err)
		assert.Assert(t, disk.Free > 0 && disk.Inodes > 0)
		assert.ErrorIs(t, err, errno)
		assert.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "/var/lib/argosy")
		assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	}
	h := &Host{Before: func(Change) error { return syscall.EACCES }}
	assert.Equal(t, h.Explain("/", syscall.EACCES), error(syscall.EACCES))
}
