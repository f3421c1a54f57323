package lab

import (
	"archive/tar"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"gotest.tools/v3/assert"
)

// served is the lab's registry behind an address of its own.
func served(t *testing.T, l *Lab) *httptest.Server {
	t.Helper()
	handler, err := l.registryHandler()
	assert.NilError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func tagAt(t *testing.T, server *httptest.Server, rest string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://")+"/"+rest, name.Insecure)
	assert.NilError(t, err)
	return tag
}

func TestImageNameInRegistryHasNoHost(t *testing.T) {
	for ref, want := range map[string]string{
		"ghcr.io/flannel-io/flannel:v0.26.7":      "10.117.0.1:5000/flannel-io/flannel:v0.26.7",
		"docker.io/coredns/coredns:1.12.1":        "10.117.0.1:5000/coredns/coredns:1.12.1",
		"docker.io/library/busybox:1.36.1":        "10.117.0.1:5000/library/busybox:1.36.1",
		"registry.k8s.io/kube-proxy:v1.34.4":      "10.117.0.1:5000/kube-proxy:v1.34.4",
		"ghcr.io/loft-sh/kubernetes:v1.34.4-full": "10.117.0.1:5000/loft-sh/kubernetes:v1.34.4-full",
	} {
		got, err := inRegistry(ref)
		assert.NilError(t, err)
		assert.Equal(t, got.String(), want)
	}
	_, err := inRegistry("Not/An Image")
	assert.ErrorContains(t, err, `"Not/An Image"`)
}

func TestPublishedImageIsPulledUnchanged(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	server := served(t, l)
	image, err := random.Image(4096, 3)
	assert.NilError(t, err)
	archive := filepath.Join(t.TempDir(), "image.tar")
	own := tagAt(t, server, "some/image:v1")
	assert.NilError(t, tarball.WriteToFile(archive, own, image))
	ref, err := archiveReference(archive)
	assert.NilError(t, err)
	assert.Equal(t, ref, own.String())
	plain, err := plainImage(archive)
	assert.NilError(t, err)

	assert.NilError(t, l.push(t.Context(), own, plain))

	pulled, err := remote.Image(own)
	assert.NilError(t, err)
	assert.DeepEqual(t, diffIDs(t, pulled), diffIDs(t, image))
	layers, err := pulled.Layers()
	assert.NilError(t, err)
	for _, layer := range layers {
		// Reading it to its end compares it with its digest.
		content, err := layer.Compressed()
		assert.NilError(t, err)
		_, err = io.Copy(io.Discard, content)
		assert.NilError(t, err)
		assert.NilError(t, content.Close())
	}
}

func diffIDs(t *testing.T, image v1.Image) []string {
	t.Helper()
	config, err := image.ConfigFile()
	assert.NilError(t, err)
	var ids []string
	for _, id := range config.RootFS.DiffIDs {
		ids = append(ids, id.String())
	}
	return ids
}

// layoutArchive is an OCI layout of an index under several names, in the order in
// which tools write it: the names come last.
func layoutArchive(t *testing.T, index v1.ImageIndex, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	written, err := layout.Write(dir, empty.Index)
	assert.NilError(t, err)
	for _, n := range names {
		assert.NilError(t, written.AppendIndex(index,
			layout.WithAnnotations(map[string]string{imageNameAnnotation: n})))
	}
	archive := filepath.Join(t.TempDir(), "layout.tar")
	assert.NilError(t, exec.Command("tar", "--create", "--file", archive, "--directory", dir, "oci-layout", "blobs",
		"index.json").Run())
	return archive
}

func TestPublishedIndexIsPulledUnchanged(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	server := served(t, l)
	index, err := random.Index(1024, 2, 2)
	assert.NilError(t, err)
	archive := layoutArchive(t, index, "example.org/some/image:v1", "example.org/some/image:v1-full")
	is, err := isLayout(archive)
	assert.NilError(t, err)
	assert.Assert(t, is)
	file, err := os.Open(archive)
	assert.NilError(t, err)
	defer file.Close()

	content, err := l.readLayout(t.Context(), tar.NewReader(file))
	assert.NilError(t, err)
	assert.Equal(t, len(content.names.Manifests), 2)
	for _, named := range content.names.Manifests {
		_, tag, _ := strings.Cut(named.Annotations[imageNameAnnotation], ":")
		assert.NilError(t, content.push(t.Context(), tagAt(t, server, "some/image:"+tag), named))
	}

	for _, tag := range []string{"v1", "v1-full"} {
		pulled, err := remote.Index(tagAt(t, server, "some/image:"+tag))
		assert.NilError(t, err)
		assert.NilError(t, validate.Index(pulled))
	}
}

func TestLayoutWithoutManifestIsNotPublished(t *testing.T) {
	absent := v1.Descriptor{
		MediaType: types.OCIImageIndex,
		Digest:    v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)},
	}
	target := name.MustParseReference("example.org/image:v1")
	err := layoutContent{}.push(t.Context(), target, absent)
	assert.ErrorContains(t, err, "the archive does not hold it")
}

func TestRestartedRegistryKeepsPushedImages(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	before := served(t, l)
	image, err := random.Image(1024, 1)
	assert.NilError(t, err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})
	assert.NilError(t, remote.Write(tagAt(t, before, "one:v1"), image))
	assert.NilError(t, remote.Write(tagAt(t, before, "gone:v1"), image))
	assert.NilError(t, remote.WriteIndex(tagAt(t, before, "many:v1"), index))
	assert.NilError(t, remote.Delete(tagAt(t, before, "gone:v1")))
	before.Close()

	after := served(t, l)

	pulled, err := remote.Image(tagAt(t, after, "one:v1"))
	assert.NilError(t, err)
	assert.NilError(t, validate.Image(pulled))
	pulledIndex, err := remote.Index(tagAt(t, after, "many:v1"))
	assert.NilError(t, err)
	assert.NilError(t, validate.Index(pulledIndex))
	_, err = remote.Head(tagAt(t, after, "gone:v1"))
	assert.ErrorContains(t, err, "404")
}

func TestAManifestLargerThanRegistriesTakeIsRefused(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	server := served(t, l)
	answer, err := server.Client().Do(put(t, server.URL+"/v2/x/manifests/v1", strings.Repeat("x", largestManifest+1)))
	assert.NilError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, answer.StatusCode, 413)
	kept, err := os.ReadDir(filepath.Join(l.registryDir(), "manifests"))
	assert.NilError(t, err)
	assert.Equal(t, len(kept), 0)
}

func put(t *testing.T, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	assert.NilError(t, err)
	return r
}

func TestArchiveWithSeveralNamesIsNotPublished(t *testing.T) {
	image, err := random.Image(16, 1)
	assert.NilError(t, err)
	archive := filepath.Join(t.TempDir(), "two.tar")
	one, two := name.MustParseReference("a:v1"), name.MustParseReference("b:v1")
	assert.NilError(t, tarball.MultiRefWriteToFile(archive, map[name.Reference]v1.Image{one: image, two: image}))
	_, err = archiveReference(archive)
	assert.ErrorContains(t, err, "two.tar")
}
