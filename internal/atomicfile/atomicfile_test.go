package atomicfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/atomicfile"
)

func TestAFileIsReplacedOnlyWhenItIsComplete(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.txt")
	assert.NilError(t, os.WriteFile(path, []byte("old"), 0o600))

	file, err := atomicfile.Create(path)
	assert.NilError(t, err)
	defer file.Discard()
	_, err = file.WriteString("new")
	assert.NilError(t, err)
	assert.Equal(t, read(t, path), "old")
	assert.DeepEqual(t, leftovers(t, folder), []string{"a.txt"})
	assert.Equal(t, mode(t, file.Name()), fs.FileMode(0o600))

	assert.NilError(t, file.Commit(0o644))
	file.Discard()
	assert.Equal(t, read(t, path), "new")
	assert.Equal(t, len(leftovers(t, folder)), 0)
}

func TestADiscardedFileLeavesWhatWasThere(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a.txt")
	assert.NilError(t, os.WriteFile(path, []byte("old"), 0o600))
	file, err := atomicfile.Create(path)
	assert.NilError(t, err)
	file.Discard()
	assert.Equal(t, read(t, path), "old")
	assert.Equal(t, len(leftovers(t, folder)), 0)
}

func TestTheModeIsThatWhichWasAskedFor(t *testing.T) {
	before := syscall.Umask(0o077)
	defer syscall.Umask(before)
	for _, wanted := range []fs.FileMode{0o600, 0o644, 0o755} {
		path := filepath.Join(t.TempDir(), "program")
		assert.NilError(t, atomicfile.Write(path, []byte("x"), wanted))
		assert.Equal(t, mode(t, path), wanted)
	}
}

func TestAFileThatCannotGetItsNameIsRemoved(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a")
	assert.NilError(t, os.MkdirAll(filepath.Join(path, "b"), 0o700))
	assert.ErrorContains(t, atomicfile.Write(path, []byte("x"), 0o600), "rename")
	assert.Equal(t, len(leftovers(t, folder)), 0)
	assert.ErrorIs(t, atomicfile.Write(filepath.Join(folder, "none", "a"), nil, 0o600), fs.ErrNotExist)
}

func TestNamesOfOtherFilesAreNoLeftovers(t *testing.T) {
	for _, name := range []string{"a.txt", ".a.txt", ".a-1", "a-1.tmp", ".-1.tmp", ".a-.tmp", ".a-b.tmp"} {
		_, found := atomicfile.Leftover(name)
		assert.Assert(t, !found, name)
	}
	of, found := atomicfile.Leftover(".a-1.tar.zst-22.tmp")
	assert.Assert(t, found)
	assert.Equal(t, of, "a-1.tar.zst")
}

func leftovers(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	assert.NilError(t, err)
	var of []string
	for _, entry := range entries {
		if name, found := atomicfile.Leftover(entry.Name()); found {
			of = append(of, name)
		}
	}
	return of
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	return string(content)
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	assert.NilError(t, err)
	return info.Mode().Perm()
}
