package build

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"gotest.tools/v3/assert"
)

// fakeFiles are shell scripts in the place of the real programs.
func fakeFiles(t *testing.T) []bundleFile {
	t.Helper()
	folder := t.TempDir()
	files := []bundleFile{{Path: "pause-image.txt", Text: "registry.example.org/fake-pause:1\n"}}
	for path, name := range map[string]string{"kubelet": "fake-kubelet", "cni/bin/bridge": "fake-bridge"} {
		source := filepath.Join(folder, name)
		write(t, source, "#!/bin/sh\necho "+name+"\n")
		assert.NilError(t, os.Chmod(source, 0o755))
		files = append(files, bundleFile{Path: path, Source: source})
	}
	return files
}

func TestBundleHasItsFilesBelowReleaseAndADigest(t *testing.T) {
	const name = "fake.tar.gz"
	bundle, err := newCache(t).makeBundle(t.Context(), name, fakeFiles(t))
	assert.NilError(t, err)
	content, err := os.ReadFile(bundle.Path)
	assert.NilError(t, err)
	assert.Equal(t, bundle.SHA256, digest(content))
	assert.Equal(t, filepath.Base(bundle.Path), name)
	sums, err := os.ReadFile(filepath.Join(filepath.Dir(bundle.Path), "SHA256SUMS"))
	assert.NilError(t, err)
	assert.Equal(t, string(sums), bundle.SHA256+"  "+name+"\n")

	file, err := os.Open(bundle.Path)
	assert.NilError(t, err)
	defer file.Close()
	plain, err := gzip.NewReader(file)
	assert.NilError(t, err)
	assert.DeepEqual(t, modes(readTar(t, plain)), map[string]int64{
		"./release/":                0o755,
		"./release/cni/":            0o755,
		"./release/cni/bin/":        0o755,
		"./release/cni/bin/bridge":  0o755,
		"./release/kubelet":         0o755,
		"./release/pause-image.txt": 0o644,
	})
}

func TestEqualFilesGiveEqualBundles(t *testing.T) {
	sums := map[string]bool{}
	for range 3 {
		bundle, err := newCache(t).makeBundle(t.Context(), "fake.tar.gz", fakeFiles(t))
		assert.NilError(t, err)
		sums[bundle.SHA256] = true
	}
	assert.Equal(t, len(sums), 1)
}

func TestABundleWithAMissingFileIsNotKept(t *testing.T) {
	b := newCache(t)
	files := append(fakeFiles(t), bundleFile{Path: "runc", Source: filepath.Join(t.TempDir(), "fake-absent")})
	_, err := b.makeBundle(t.Context(), "fake.tar.gz", files)
	assert.ErrorContains(t, err, `adding "release/runc"`)
	entries, err := filepath.Glob(filepath.Join(b.Cache, "bundles", "*fake*[0-9a-f]"))
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 0)
}

func modes(entries map[string]tarEntry) map[string]int64 {
	got := map[string]int64{}
	for name, entry := range entries {
		got[name] = entry.mode
	}
	return got
}
