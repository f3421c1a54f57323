package build

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"gotest.tools/v3/assert"
)

func TestAReleaseFolderHasTheFilesBeneathTheArchitecture(t *testing.T) {
	b, files := newCache(t), fakeFiles(t)
	folder, err := b.makeReleaseFolder(t.Context(), "v1.2.3", files)
	assert.NilError(t, err)
	for _, file := range files {
		path := filepath.Join(folder, runtime.GOARCH, file.Path)
		if file.Source == "" {
			content, err := os.ReadFile(path)
			assert.NilError(t, err)
			assert.Equal(t, string(content), file.Text)
			continue
		}
		placed, err := os.Stat(path)
		assert.NilError(t, err)
		source, err := os.Stat(file.Source)
		assert.NilError(t, err)
		assert.Assert(t, os.SameFile(placed, source), "%s is a copy", file.Path)
	}

	again, err := b.makeReleaseFolder(t.Context(), "v1.2.3", files)
	assert.NilError(t, err)
	assert.Equal(t, again, folder)
	files[0].Path = "another-name"
	other, err := b.makeReleaseFolder(t.Context(), "v1.2.3", files)
	assert.NilError(t, err)
	assert.Assert(t, other != folder)
}

func TestAReleaseWithAMissingProgramIsNotKept(t *testing.T) {
	b := newCache(t)
	files := append(fakeFiles(t), bundleFile{Path: "kine", Source: filepath.Join(t.TempDir(), "fake-absent")})
	_, err := b.makeReleaseFolder(t.Context(), "v1.2.3", files)
	assert.ErrorIs(t, err, os.ErrNotExist)
	kept, err := filepath.Glob(filepath.Join(b.Cache, "releases", "*[0-9a-f]"))
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 0)
}
