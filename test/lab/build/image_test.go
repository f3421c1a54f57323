package build

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"gotest.tools/v3/assert"
)

func fakeImageSpec(t *testing.T) ImageSpec {
	t.Helper()
	folder := t.TempDir()
	program, config := filepath.Join(folder, "fake-program"), filepath.Join(folder, "fake-config")
	write(t, program, "fake program")
	assert.NilError(t, os.Chmod(program, 0o750))
	write(t, config, "fake config")
	return ImageSpec{
		Ref:        "registry.example.org/fake/program:v1",
		Files:      map[string]string{"/usr/bin/program": program, "/etc/program/config": config},
		Entrypoint: []string{"/usr/bin/program", "serve"},
		Env:        []string{"MODE=fake"},
		User:       "8737",
	}
}

func TestImageHasFilesAndConfigurationOfItsSpec(t *testing.T) {
	spec := fakeImageSpec(t)
	archive, err := newCache(t).Image(t.Context(), spec)
	assert.NilError(t, err)

	tag, err := name.NewTag(spec.Ref)
	assert.NilError(t, err)
	image, err := tarball.ImageFromPath(archive, &tag)
	assert.NilError(t, err)
	config, err := image.ConfigFile()
	assert.NilError(t, err)
	assert.DeepEqual(t, config.Config.Entrypoint, spec.Entrypoint)
	assert.DeepEqual(t, config.Config.Env, []string{defaultPath, "MODE=fake"})
	assert.Equal(t, config.Config.User, "8737")
	assert.Equal(t, config.OS, "linux")

	layers, err := image.Layers()
	assert.NilError(t, err)
	assert.Equal(t, len(layers), 1)
	layer, err := layers[0].Uncompressed()
	assert.NilError(t, err)
	got := readTar(t, layer)
	assert.Equal(t, got["usr/bin/program"], tarEntry{0o755, "fake program"})
	assert.Equal(t, got["etc/program/config"], tarEntry{0o644, "fake config"})
	assert.Equal(t, got["usr/bin/"], tarEntry{0o755, ""})
	assert.Equal(t, got["tmp/"], tarEntry{0o1777, ""})
}

func TestImagesShareTheLayerOfTheirBase(t *testing.T) {
	b, base := newCache(t), t.TempDir()
	write(t, filepath.Join(base, "bin/fake-shell"), "fake shell")
	assert.NilError(t, os.Chmod(filepath.Join(base, "bin/fake-shell"), 0o755))
	assert.NilError(t, os.Symlink("fake-shell", filepath.Join(base, "bin/sh")))
	layers := func(ref string) []v1.Layer {
		spec := fakeImageSpec(t)
		spec.Ref, spec.Base, spec.Cmd = ref, base, []string{"sh"}
		archive, err := b.Image(t.Context(), spec)
		assert.NilError(t, err)
		image, err := tarball.ImageFromPath(archive, nil)
		assert.NilError(t, err)
		config, err := image.ConfigFile()
		assert.NilError(t, err)
		assert.DeepEqual(t, config.Config.Cmd, spec.Cmd)
		layers, err := image.Layers()
		assert.NilError(t, err)
		assert.Equal(t, len(layers), 2)
		return layers
	}
	one, two := layers("registry.example.org/fake/one:v1"), layers("registry.example.org/fake/two:v1")
	shared, err := one[0].DiffID()
	assert.NilError(t, err)
	same, err := two[0].DiffID()
	assert.NilError(t, err)
	assert.Equal(t, shared, same)

	content, err := one[0].Uncompressed()
	assert.NilError(t, err)
	assert.Assert(t, maps.Equal(readTar(t, content), map[string]tarEntry{
		"bin/":           {0o755, ""},
		"bin/fake-shell": {0o755, "fake shell"},
		"bin/sh":         {0o777, "fake-shell"},
	}))
	content, err = one[1].Uncompressed()
	assert.NilError(t, err)
	assert.Equal(t, readTar(t, content)["usr/bin/program"], tarEntry{0o755, "fake program"})
}

func TestEqualSpecsGiveEqualArchives(t *testing.T) {
	contents := map[string]bool{}
	for range 3 {
		spec := fakeImageSpec(t)
		when := time.Now().Add(-time.Duration(len(contents)+1) * time.Hour)
		for _, file := range spec.Files {
			assert.NilError(t, os.Chtimes(file, when, when))
		}
		archive, err := newCache(t).Image(t.Context(), spec)
		assert.NilError(t, err)
		content, err := os.ReadFile(archive)
		assert.NilError(t, err)
		contents[digest(content)] = true
	}
	assert.Equal(t, len(contents), 1)
}

func TestImageIsCachedUntilAFileChanges(t *testing.T) {
	b, spec := newCache(t), fakeImageSpec(t)
	image := func() string {
		archive, err := b.Image(t.Context(), spec)
		assert.NilError(t, err)
		return archive
	}
	first := image()
	assert.Equal(t, first, image())
	write(t, spec.Files["/etc/program/config"], "another fake config")
	second := image()
	assert.Assert(t, second != first)
	assert.NilError(t, os.Chmod(spec.Files["/etc/program/config"], 0o755))
	assert.Assert(t, image() != second)
}

func TestAnImageThatCannotBeMadeIsRefused(t *testing.T) {
	for message, change := range map[string]func(*ImageSpec){
		"reading image reference":       func(s *ImageSpec) { s.Ref = "Not A Reference" },
		"not a clean absolute path":     func(s *ImageSpec) { s.Files["/usr/../escape"] = s.Files["/usr/bin/program"] },
		`placing "/absent"`:             func(s *ImageSpec) { s.Files["/absent"] = "/nowhere/at/all" },
		`"relative" is not a clean abs`: func(s *ImageSpec) { s.Files["relative"] = s.Files["/usr/bin/program"] },
	} {
		spec := fakeImageSpec(t)
		change(&spec)
		_, err := newCache(t).Image(t.Context(), spec)
		assert.ErrorContains(t, err, message)
	}
}

// tarEntry is one entry of an archive; the content of a link is its target.
type tarEntry struct {
	mode    int64
	content string
}

func readTar(t *testing.T, r io.Reader) map[string]tarEntry {
	t.Helper()
	entries := map[string]tarEntry{}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		assert.NilError(t, err)
		content, err := io.ReadAll(archive)
		assert.NilError(t, err)
		entries[header.Name] = tarEntry{header.Mode, header.Linkname + string(content)}
	}
}
