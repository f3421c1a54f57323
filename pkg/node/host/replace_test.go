package host

import (
	"os"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
)

func TestACopyHasModeAndTimeOfItsOriginalWhateverTheUmaskIs(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	_, err := h.WriteFile("/program", []byte("a program"), 0o755)
	assert.NilError(t, err)
	umask := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(umask) })
	assert.NilError(t, copyFile(h.Path("/program"), h.Path("/copy")))
	original, err := os.Stat(h.Path("/program"))
	assert.NilError(t, err)
	copied, err := os.Stat(h.Path("/copy"))
	assert.NilError(t, err)
	assert.Equal(t, copied.Mode(), os.FileMode(0o755))
	assert.Assert(t, copied.ModTime().Equal(original.ModTime()))
}
