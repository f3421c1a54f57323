package host

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestACopyHasTheMetadataOfItsOriginal(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	_, err := h.WriteFile("/program", []byte("a program"), 0o755)
	assert.NilError(t, err)
	if os.Geteuid() == 0 {
		assert.NilError(t, os.Chown(h.Path("/program"), 1, 2))
	}
	assert.NilError(t, os.Chmod(h.Path("/program"), 0o755|fs.ModeSetuid))
	longAgo := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	assert.NilError(t, os.Chtimes(h.Path("/program"), longAgo, longAgo))
	attribute := syscall.Setxattr(h.Path("/program"), "user.argosy", []byte("kept"), 0)
	umask := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(umask) })

	assert.NilError(t, h.ReplaceByCopy("/program", "/copy"))

	assert.Assert(t, h.Holds("/copy", []byte("a program")))
	original, err := os.Stat(h.Path("/program"))
	assert.NilError(t, err)
	copied, err := os.Stat(h.Path("/copy"))
	assert.NilError(t, err)
	assert.Assert(t, !os.SameFile(original, copied))
	assert.Equal(t, copied.Mode(), original.Mode())
	assert.Assert(t, copied.ModTime().Equal(original.ModTime()))
	assert.Equal(t, copied.Sys().(*syscall.Stat_t).Uid, original.Sys().(*syscall.Stat_t).Uid)
	assert.Equal(t, copied.Sys().(*syscall.Stat_t).Gid, original.Sys().(*syscall.Stat_t).Gid)
	if attribute == nil {
		value := make([]byte, 10)
		n, err := syscall.Getxattr(h.Path("/copy"), "user.argosy", value)
		assert.NilError(t, err)
		assert.Equal(t, string(value[:n]), "kept")
	}
}
