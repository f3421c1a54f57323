package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/nodetest"
)

func unpacked(t *testing.T) (string, *Manifest) {
	t.Helper()
	dir := t.TempDir()
	data := packed(t, TarGzip, tar.Header{Name: "release/kubelet"}, tar.Header{Name: "release/kubeadm"})
	files, err := Receive(context.Background(), bytes.NewReader(data), TarGzip, digest(data), dir)
	assert.NilError(t, err)
	m := &Manifest{
		SHA256: digest(data), Files: files, BootID: "first",
		Versions: map[string]string{"kubelet": "v1.34.4"},
	}
	data, err = m.Encode()
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, CompleteFile), data, 0o644))
	read, err := ReadManifest(dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, read, m)
	return dir, read
}

func TestAFolderWithoutAManifestIsNotComplete(t *testing.T) {
	_, err := ReadManifest(t.TempDir())
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAChangedFileIsNoticed(t *testing.T) {
	for name, change := range map[string]func(file string, info os.FileInfo) error{
		"removed": func(file string, _ os.FileInfo) error { return os.Remove(file) },
		"longer": func(file string, _ os.FileInfo) error {
			return os.WriteFile(file, []byte("much longer than it was"), 0o755)
		},
		"touched": func(file string, _ os.FileInfo) error { return os.Chtimes(file, time.Time{}, time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, manifest := unpacked(t)
			assert.NilError(t, manifest.Verify(dir, "first"))
			file := filepath.Join(dir, "release/kubelet")
			info, err := os.Stat(file)
			assert.NilError(t, err)
			assert.NilError(t, change(file, info))
			assert.ErrorContains(t, manifest.Verify(dir, "first"), "release/kubelet")
		})
	}
}

func TestVerifyReadsContentAfterAnotherBoot(t *testing.T) {
	dir, manifest := unpacked(t)
	file := filepath.Join(dir, "release/kubelet")
	info, err := os.Stat(file)
	assert.NilError(t, err)
	// After a power cut a file may have the right size and time, and zeros.
	assert.NilError(t, os.WriteFile(file, make([]byte, info.Size()), 0o755))
	assert.NilError(t, os.Chtimes(file, time.Time{}, info.ModTime()))

	assert.NilError(t, manifest.Verify(dir, "first"), "in the same boot nothing can have been lost")
	assert.ErrorContains(t, manifest.Verify(dir, "second"), "content")
	manifest.Synced = true
	assert.NilError(t, manifest.Verify(dir, "second"), "what was synced is not read again")
}

func TestAProgramForAnotherArchitectureIsToldByItsHeader(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubelet")
	assert.NilError(t, os.WriteFile(file, []byte(nodetest.ELF("arm64")), 0o755))
	assert.NilError(t, CheckMachine(file, "arm64"))
	assert.Error(t, CheckMachine(file, "amd64"), "the bundle's kubelet is for arm64, but this machine is amd64")

	assert.NilError(t, os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755))
	err := CheckMachine(file, "amd64")
	assert.ErrorContains(t, err, "reading the ELF header")
	assert.Assert(t, !errors.Is(err, fs.ErrNotExist))
}
