package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

func TestTheProgramPlacesACopyOfItself(t *testing.T) {
	dir := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "executor-plugin"), []byte("an older one"), 0o600))
	_, _, err := run(t, "install-to", "--database="+filepath.Join(dir, "none"), dir)
	assert.ErrorContains(t, err, "asking for the file system")
	unchanged, err := os.ReadFile(filepath.Join(dir, "executor-plugin"))
	assert.NilError(t, err)
	assert.Equal(t, string(unchanged), "an older one")
	_, _, err = run(t, "install-to", "--database="+dir, dir)
	assert.NilError(t, err)
	own, err := os.Executable()
	assert.NilError(t, err)
	entries, err := os.ReadDir(dir)
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1)
	want, err := os.ReadFile(own)
	assert.NilError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "executor-plugin"))
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(got, want))
	assert.NilError(t, exec.CommandContext(t.Context(), filepath.Join(dir, "executor-plugin"), "-test.list",
		"^$").Run())

	_, _, err = run(t, "install-to", filepath.Join(dir, "none"))
	assert.ErrorContains(t, err, "copying this program")
}
