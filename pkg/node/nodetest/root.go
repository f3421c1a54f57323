package nodetest

import (
	"os"
	"testing"

	"gotest.tools/v3/assert"
)

// Root makes a folder for a machine's files. It has a short name, so that sockets fit below it, and is in memory
// where that can be, since a machine syncs all that it writes.
func Root(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "m")
	if err != nil {
		root, err = os.MkdirTemp("", "m")
	}
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	return root
}
