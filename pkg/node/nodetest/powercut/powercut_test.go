package powercut

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
)

// TestACutLosesWhatWasNotSynced shows that the simulation is one: without a sync before the rename, a file is empty.
func TestACutLosesWhatWasNotSynced(t *testing.T) {
	Run(t, func(t *testing.T) {
		d := New(t, 32<<20)
		name := func(base string) string { return filepath.Join(d.Dir, base) }
		write := func(base, content string, synced bool) {
			file, err := os.Create(name(base + ".tmp"))
			assert.NilError(t, err)
			_, err = file.WriteString(content)
			assert.NilError(t, err)
			if synced {
				assert.NilError(t, file.Sync())
			}
			assert.NilError(t, file.Close())
			assert.NilError(t, os.Rename(file.Name(), name(base)))
		}
		write("before", "content", true)
		image := d.Save()

		write("renamed", "content", false)
		// This commits the journal, and with it the name of the file above, but not its content.
		write("synced", "content", true)
		dir, err := os.Open(d.Dir)
		assert.NilError(t, err)
		assert.NilError(t, errors.Join(dir.Sync(), dir.Close()))
		write("lost", "content", false)
		d.Cut()
		_, err = os.Create(name("later"))
		assert.ErrorIs(t, err, syscall.EIO)
		d.Restart()
		for base, content := range map[string]string{"before": "content", "synced": "content", "renamed": ""} {
			read, err := os.ReadFile(name(base))
			assert.NilError(t, err)
			assert.Equal(t, string(read), content, base)
		}
		_, err = os.Stat(name("lost"))
		assert.ErrorIs(t, err, fs.ErrNotExist)

		d.Load(image)
		_, err = os.Stat(name("synced"))
		assert.ErrorIs(t, err, fs.ErrNotExist)
		read, err := os.ReadFile(name("before"))
		assert.NilError(t, err)
		assert.Equal(t, string(read), "content")
	})
}
