package assemble_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/bundle/release/releasetest"
	"argosy.dev/argosy/pkg/errclass"
)

const version = releasetest.Kubernetes

var (
	nodePrograms = strings.Fields(`kubeadm kubelet kubectl containerd containerd-shim-runc-v2 ctr runc crictl cni/bin/loopback
		cni/bin/portmap cni/bin/bandwidth cni/bin/bridge cni/bin/firewall cni/bin/host-local`)
	controlPlanePrograms = strings.Fields(`kube-apiserver kube-controller-manager kube-scheduler etcd etcdctl etcdutl kine konnectivity-server`)
)

// binaries makes a directory with stand-ins for everything.
func binaries(t *testing.T, arches ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, arch := range arches {
		for _, program := range append(nodePrograms, controlPlanePrograms...) {
			place(t, dir, arch+"/"+program, releasetest.Program(arch, program))
		}
		place(t, dir, arch+"/pause-image.tar", []byte("an image"))
		place(t, dir, arch+"/pause-image.txt", []byte("registry.k8s.io/pause:3.10\n"))
	}
	return dir
}

func place(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	assert.NilError(t, os.WriteFile(path, content, 0o644))
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	assert.NilError(t, err)
	return content
}

// modes are a tar's entries.
func modes(t *testing.T, archive io.Reader) map[string]int64 {
	t.Helper()
	got := map[string]int64{}
	entries := tar.NewReader(archive)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		assert.NilError(t, err)
		assert.Equal(t, header.Uid+header.Gid, 0, header.Name)
		assert.Assert(t, header.ModTime.Unix() == 0, header.Name)
		got[header.Name] = header.Mode
	}
}

func TestBundleHasTheNodesFilesAndUnpacks(t *testing.T) {
	assembly, err := assemble.FromDirectory(binaries(t, "amd64", "arm64"), version)
	assert.NilError(t, err)
	output := t.TempDir()
	bundles, err := assembly.WriteBundles(t.Context(), output)
	assert.NilError(t, err)

	assert.Equal(t, len(bundles), 2)
	sums := read(t, output, version, bundle.SumsFile)
	for i, arch := range []string{"amd64", "arm64"} {
		name := "kubernetes-v1.34.4-" + arch + ".tar.gz"
		assert.Equal(t, bundles[i].Name, name)
		assert.Equal(t, bundles[i].Path, filepath.Join(output, version, name))
		published, err := bundle.SumOf(sums, name)
		assert.NilError(t, err)
		assert.Equal(t, published, bundles[i].SHA256)

		into := t.TempDir()
		content := read(t, output, version, name)
		assert.Equal(t, int64(len(content)), bundles[i].Size)
		files, err := bundle.Receive(t.Context(), bytes.NewReader(content), bundle.TarGzip, published, into)
		assert.NilError(t, err)
		assert.Equal(t, len(files), len(nodePrograms)+2)
		assert.NilError(t, bundle.CheckMachine(filepath.Join(into, "release/kubelet"), arch))
		assert.Equal(t, string(read(t, into, "release/pause-image.txt")), "registry.k8s.io/pause:3.10\n")
	}
}

func TestABundlesEntriesHaveTheirModeWhateverTheDiskSays(t *testing.T) {
	assembly, err := assemble.FromDirectory(binaries(t, "amd64"), version)
	assert.NilError(t, err)
	bundles, err := assembly.WriteBundles(t.Context(), t.TempDir())
	assert.NilError(t, err)
	plain, err := gzip.NewReader(bytes.NewReader(read(t, bundles[0].Path)))
	assert.NilError(t, err)
	want := map[string]int64{
		"./release/": 0o755, "./release/cni/": 0o755, "./release/cni/bin/": 0o755,
		"./release/pause-image.tar": 0o644, "./release/pause-image.txt": 0o644,
	}
	for _, program := range nodePrograms {
		want["./release/"+program] = 0o755
	}
	assert.DeepEqual(t, modes(t, plain), want)
}

// everything writes all there is and gives the digest of each file and image.
func everything(t *testing.T, dir string) map[string]string {
	t.Helper()
	assembly, err := assemble.FromDirectory(dir, version)
	assert.NilError(t, err)
	output := t.TempDir()
	bundles, err := assembly.WriteBundles(t.Context(), output, bundle.TarGzip, bundle.TarZstd)
	assert.NilError(t, err)
	image, err := assembly.Image(t.Context(), assemble.ImageOptions{Bundles: bundles})
	assert.NilError(t, err)
	defer func() { assert.NilError(t, image.Close()) }()
	assert.NilError(t, image.WriteArchive(t.Context(), filepath.Join(output, "image.tar")))

	digests := map[string]string{}
	references, err := image.References()
	assert.NilError(t, err)
	for _, reference := range references {
		digests[reference.Name] = reference.Digest
	}
	paths, err := filepath.Glob(filepath.Join(output, "*", "*"))
	assert.NilError(t, err)
	for _, path := range append(paths, filepath.Join(output, "image.tar")) {
		sum := sha256.Sum256(read(t, path))
		digests[filepath.Base(path)] = hex.EncodeToString(sum[:])
	}
	return digests
}

func TestTheSameBinariesGiveTheSameBytes(t *testing.T) {
	first := everything(t, binaries(t, "amd64", "arm64"))
	assert.Equal(t, len(first), 10, "%v", first) // 2 references, 4 bundles, 2 lists of contents, SHA256SUMS, the image

	touched := binaries(t, "arm64", "amd64")
	for _, program := range append(nodePrograms, controlPlanePrograms...) {
		path := filepath.Join(touched, "amd64", program)
		assert.NilError(t, os.Chtimes(path, time.Now(), time.Unix(1_234_567_890, 0)))
		assert.NilError(t, os.Chmod(path, 0o700))
	}
	assert.DeepEqual(t, everything(t, touched), first)

	place(t, touched, "amd64/kubelet", releasetest.Program("amd64", "another kubelet"))
	second := everything(t, touched)
	assert.Assert(t, second["kubernetes-v1.34.4-amd64.tar.gz"] != first["kubernetes-v1.34.4-amd64.tar.gz"])
	assert.Equal(t, second["kubernetes-v1.34.4-arm64.tar.gz"], first["kubernetes-v1.34.4-arm64.tar.gz"])
	assert.Equal(t, second["ghcr.io/loft-sh/kubernetes:v1.34.4"], first["ghcr.io/loft-sh/kubernetes:v1.34.4"])
	const name = "ghcr.io/loft-sh/kubernetes:v1.34.4-full"
	assert.Assert(t, second[name] != first[name])
}

func TestSumsOfAnEarlierBuildStayWhileItsFilesDo(t *testing.T) {
	output := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		assembly, err := assemble.FromDirectory(binaries(t, arch), version)
		assert.NilError(t, err)
		_, err = assembly.WriteBundles(t.Context(), output)
		assert.NilError(t, err)
		if arch == "amd64" {
			assert.NilError(t, os.Remove(filepath.Join(output, version, "kubernetes-v1.34.4-amd64.spdx.json")))
		}
	}
	sums := read(t, output, version, bundle.SumsFile)
	var names []string
	for line := range strings.Lines(string(sums)) {
		digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		names = append(names, name)
		sum := sha256.Sum256(read(t, output, version, name))
		assert.Equal(t, digest, hex.EncodeToString(sum[:]), name)
	}
	assert.DeepEqual(t, names, []string{
		"kubernetes-v1.34.4-amd64.tar.gz", "kubernetes-v1.34.4-arm64.spdx.json",
		"kubernetes-v1.34.4-arm64.tar.gz",
	})
}

func TestOptionalFilesMayBeMissingAndMorePluginsArePacked(t *testing.T) {
	dir := binaries(t, "amd64")
	assert.NilError(t, os.Remove(filepath.Join(dir, "amd64/crictl")))
	assert.NilError(t, os.Remove(filepath.Join(dir, "amd64/etcdutl")))
	place(t, dir, "amd64/cni/bin/macvlan", releasetest.Program("amd64", "macvlan"))
	place(t, dir, "amd64/README", []byte("not part of the layout"))
	assembly, err := assemble.FromDirectory(dir, version)
	assert.NilError(t, err)
	bundles, err := assembly.WriteBundles(t.Context(), t.TempDir())
	assert.NilError(t, err)
	plain, err := gzip.NewReader(bytes.NewReader(read(t, bundles[0].Path)))
	assert.NilError(t, err)
	got := modes(t, plain)
	assert.Equal(t, got["./release/cni/bin/macvlan"], int64(0o755))
	assert.Equal(t, got["./release/README"]+got["./release/crictl"], int64(0))
	image, err := assembly.Image(t.Context(), assemble.ImageOptions{})
	assert.NilError(t, err)
	assert.NilError(t, image.Close())
}

func TestADirectoryThatCannotBeUsedIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*testing.T, string)
		version string
		arches  []string
		want    string
	}{
		"no such architecture": {
			func(*testing.T, string) {}, version,
			[]string{"amd64", "arm64"},
			"there is no folder",
		},
		"not a version": {func(*testing.T, string) {}, "1.34", nil, "it is not like v1.37.2"},
		"no architecture at all": {
			func(t *testing.T, dir string) {
				assert.NilError(t,
					os.RemoveAll(filepath.Join(dir, "amd64")))
			},
			version, nil, "neither a folder amd64 nor arm64",
		},
		"another architecture's program": {func(t *testing.T, dir string) {
			place(t, dir, "amd64/runc", releasetest.Program("arm64", "runc"))
		}, version, nil, "it is for arm64 and lies in the folder of amd64"},
		"not a program": {
			func(t *testing.T, dir string) { place(t, dir, "amd64/runc", []byte("<html>")) }, version,
			nil, "reading the ELF header",
		},
		"empty": {
			func(t *testing.T, dir string) { place(t, dir, "amd64/pause-image.tar", nil) }, version, nil,
			"is empty or no file",
		},
		"a folder": {func(t *testing.T, dir string) {
			assert.NilError(t, os.MkdirAll(filepath.Join(dir, "amd64/cni/bin/more"), 0o755))
		}, version, nil, "is empty or no file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := binaries(t, "amd64")
			test.change(t, dir)
			_, err := assemble.FromDirectory(dir, test.version, test.arches...)
			assert.ErrorContains(t, err, test.want)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestEveryMissingFileIsNamedWhereItIsNeeded(t *testing.T) {
	dir := binaries(t, "amd64")
	for _, program := range []string{"runc", "cni/bin/bridge", "kine"} {
		assert.NilError(t, os.Remove(filepath.Join(dir, "amd64", program)))
	}
	assembly, err := assemble.FromDirectory(dir, version)
	assert.NilError(t, err)
	output := t.TempDir()
	_, err = assembly.WriteBundles(t.Context(), output)
	assert.ErrorContains(t, err, "collecting the node bundle for amd64")
	assert.ErrorContains(t, err, "lacks runc, cni/bin/bridge;")
	_, err = assembly.Image(t.Context(), assemble.ImageOptions{Scratch: output})
	assert.ErrorContains(t, err, "lacks kine;")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	left, err := os.ReadDir(output)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
}

func TestListOfContentsNamesEveryFileAndItsSource(t *testing.T) {
	assembly, err := assemble.FromDirectory(binaries(t, "amd64"), version)
	assert.NilError(t, err)
	assembly.Components = []assemble.Component{
		{
			Name: "runc", Arch: "amd64", Version: "v1.3.3", Location: "https://example.org/runc.amd64",
			PURL:   "pkg:github/opencontainers/runc@v1.3.3",
			SHA256: releasetest.Digest(releasetest.Program("amd64", "runc")), Files: []string{"runc"},
		},
		{
			Name: "containerd", Arch: "amd64", Version: "v2.1.4", Location: "https://example.org/containerd.tar.gz",
			SHA256: strings.Repeat("ab", 32), Files: []string{"containerd", "ctr"},
		},
		{Name: "containerd", Arch: "arm64", Version: "v2.1.4", Location: "https://example.org/other.tar.gz"},
	}
	assembly.Created = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	output := t.TempDir()
	_, err = assembly.WriteBundles(t.Context(), output)
	assert.NilError(t, err)
	golden.Assert(t, string(read(t, output, version, "kubernetes-v1.34.4-amd64.spdx.json")), "contents.spdx.json")
}
