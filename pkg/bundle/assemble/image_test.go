package assemble_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/errclass"
)

// fullImage is made of stand-ins for both architectures.
func fullImage(t *testing.T, options assemble.ImageOptions) *assemble.Image {
	t.Helper()
	assembly, err := assemble.FromDirectory(binaries(t, "amd64", "arm64"), version)
	assert.NilError(t, err)
	options.Bundles, err = assembly.WriteBundles(t.Context(), t.TempDir())
	assert.NilError(t, err)
	image, err := assembly.Image(t.Context(), options)
	assert.NilError(t, err)
	t.Cleanup(func() { assert.NilError(t, image.Close()) })
	return image
}

// openArchive unpacks an OCI archive into a folder and opens that.
func openArchive(t *testing.T, archive string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	entries := tar.NewReader(bytes.NewReader(read(t, archive)))
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		content, err := io.ReadAll(entries)
		assert.NilError(t, err)
		_, err = os.Stat(filepath.Join(dir, header.Name))
		assert.ErrorIs(t, err, fs.ErrNotExist, "%s is there twice", header.Name)
		place(t, dir, header.Name, content)
	}
	path, err := layout.FromPath(dir)
	assert.NilError(t, err)
	index, err := path.ImageIndex()
	assert.NilError(t, err)
	return index
}

func layersOf(t *testing.T, index v1.ImageIndex, arch string) []v1.Layer {
	t.Helper()
	manifest, err := index.IndexManifest()
	assert.NilError(t, err)
	for _, descriptor := range manifest.Manifests {
		if descriptor.Platform.Architecture == arch {
			image, err := index.Image(descriptor.Digest)
			assert.NilError(t, err)
			layers, err := image.Layers()
			assert.NilError(t, err)
			return layers
		}
	}
	t.Fatalf("no image for %s", arch)
	return nil
}

func contentOf(t *testing.T, layer v1.Layer) map[string]int64 {
	t.Helper()
	content, err := layer.Uncompressed()
	assert.NilError(t, err)
	defer content.Close()
	return modes(t, content)
}

func TestTheArchiveHoldsBothTagsForAllArchitectures(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	image := fullImage(t, assemble.ImageOptions{Repository: "registry.example.org/kubernetes"})
	assert.NilError(t, image.WriteArchive(t.Context(), archive))
	names := openArchive(t, archive)
	assert.NilError(t, validate.Index(names))

	manifest, err := names.IndexManifest()
	assert.NilError(t, err)
	references, err := image.References()
	assert.NilError(t, err)
	for i, tag := range []string{"v1.34.4", "v1.34.4-full"} {
		assert.DeepEqual(t, manifest.Manifests[i].Annotations, map[string]string{
			"io.containerd.image.name":          "registry.example.org/kubernetes:" + tag,
			"org.opencontainers.image.ref.name": tag,
		})
		assert.DeepEqual(t, references[i], assemble.Reference{
			Name: "registry.example.org/kubernetes:" + tag, Digest: manifest.Manifests[i].Digest.String(),
		})
	}
}

func TestTagsShareProgramsAndArchitecturesShareBundles(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "image.tar")
	assert.NilError(t, fullImage(t, assemble.ImageOptions{}).WriteArchive(t.Context(), archive))
	names := openArchive(t, archive)
	manifest, err := names.IndexManifest()
	assert.NilError(t, err)
	plain, err := names.ImageIndex(manifest.Manifests[0].Digest)
	assert.NilError(t, err)
	full, err := names.ImageIndex(manifest.Manifests[1].Digest)
	assert.NilError(t, err)

	digest := func(layer v1.Layer) string {
		hash, err := layer.Digest()
		assert.NilError(t, err)
		return hash.String()
	}
	for _, arch := range []string{"amd64", "arm64"} {
		assert.Equal(t, len(layersOf(t, plain, arch)), 1)
		assert.Equal(t, len(layersOf(t, full, arch)), 2)
		assert.Equal(t, digest(layersOf(t, plain, arch)[0]), digest(layersOf(t, full, arch)[0]))
	}
	assert.Equal(t, digest(layersOf(t, full, "amd64")[1]), digest(layersOf(t, full, "arm64")[1]))
	assert.Assert(t, digest(layersOf(t, full, "amd64")[0]) != digest(layersOf(t, full, "arm64")[0]))

	want := map[string]int64{
		"etc/": 0o755, "etc/passwd": 0o644, "etc/group": 0o644, "tmp/": 0o1777,
		"kubernetes/": 0o755,
	}
	for _, program := range controlPlanePrograms {
		want["kubernetes/"+program] = 0o755
	}
	assert.DeepEqual(t, contentOf(t, layersOf(t, full, "arm64")[0]), want)
	assert.DeepEqual(t, contentOf(t, layersOf(t, full, "amd64")[1]), map[string]int64{
		"kubernetes/": 0o755, "kubernetes/SHA256SUMS": 0o644,
		"kubernetes/kubernetes-v1.34.4-amd64.tar.gz": 0o644, "kubernetes/kubernetes-v1.34.4-arm64.tar.gz": 0o644,
	})
}

func TestPushedImagesAreTheOnesOfTheArchive(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/mirror/kubernetes"
	sizes := map[bool]int64{}
	for _, uncompressed := range []bool{false, true} {
		image := fullImage(t, assemble.ImageOptions{Repository: repository, Uncompressed: uncompressed})
		assert.NilError(t, image.Push(t.Context()))
		references, err := image.References()
		assert.NilError(t, err)
		for _, reference := range references {
			at, err := name.ParseReference(reference.Name)
			assert.NilError(t, err)
			pushed, err := remote.Index(at)
			assert.NilError(t, err)
			assert.NilError(t, validate.Index(pushed))
			digest, err := pushed.Digest()
			assert.NilError(t, err)
			assert.Equal(t, digest.String(), reference.Digest)

			one, err := remote.Image(at, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))
			assert.NilError(t, err)
			config, err := one.ConfigFile()
			assert.NilError(t, err)
			assert.Equal(t, config.Architecture, "arm64")
			assert.Equal(t, config.Config.Env[0],
				"PATH=/kubernetes:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
			sizes[uncompressed], err = layersOf(t, pushed, "arm64")[0].Size()
			assert.NilError(t, err)
		}
	}
	assert.Assert(t, sizes[true] > sizes[false], "%v", sizes)
}

func TestARegistryThatSaysNoIsTheUsersToMend(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	address := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	image := fullImage(t, assemble.ImageOptions{Repository: address + "/kubernetes"})
	assert.Equal(t, errclass.ClassOf(image.Push(t.Context())), errclass.Transient)
}

func TestAFullImageNeedsAGzippedBundle(t *testing.T) {
	assembly, err := assemble.FromDirectory(binaries(t, "amd64"), version)
	assert.NilError(t, err)
	bundles, err := assembly.WriteBundles(t.Context(), t.TempDir(), bundle.TarZstd)
	assert.NilError(t, err)
	scratch := t.TempDir()
	_, err = assembly.Image(t.Context(), assemble.ImageOptions{Bundles: bundles, Scratch: scratch})
	assert.ErrorContains(t, err, "none of them is a tar.gz")
	left, err := os.ReadDir(scratch)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
}

func TestAnImageNameThatIsNoneIsRefused(t *testing.T) {
	assembly, err := assemble.FromDirectory(binaries(t, "amd64"), version)
	assert.NilError(t, err)
	_, err = assembly.Image(t.Context(), assemble.ImageOptions{Repository: "Registry/Kubernetes:v1"})
	assert.ErrorContains(t, err, `reading image name "Registry/Kubernetes:v1"`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}
