package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// lenient finds everything sound, and looks at digests.
type lenient struct{}

func (lenient) readError(err error) error      { return err }
func (lenient) hasDigest() bool                { return false }
func (lenient) verify(map[string]string) error { return nil }

// strict finds nothing sound.
type strict struct{ lenient }

var errUnsound = errors.New("unsound")

func (strict) hasDigest() bool                { return true }
func (strict) verify(map[string]string) error { return errUnsound }

// contents are the files of a tar, each by its name and content.
func contents(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		assert.NilError(t, err)
		content, err := io.ReadAll(r)
		assert.NilError(t, err)
		found[header.Name] = string(content)
	}
}

func TestTheRuntimeGetsEveryFileAndWhatNamesImagesLast(t *testing.T) {
	for _, archive := range [][]byte{archiveOf(t, "registry.example.org/a:v1"), saved(t, "a")} {
		var passed bytes.Buffer
		assert.NilError(t, pass(bytes.NewReader(archive), &passed, lenient{}))
		assert.DeepEqual(t, contents(t, passed.Bytes()), contents(t, archive))

		passed.Reset()
		assert.ErrorIs(t, pass(bytes.NewReader(archive), &passed, strict{}), errUnsound)
		for name := range contents(t, passed.Bytes()) {
			assert.Assert(t, !indexFiles[path.Clean(name)], "the runtime has %s of an archive that is not sound", name)
		}
	}
}

func TestAnArchiveWhoseEndWasTrimmedIsPassedOnWhole(t *testing.T) {
	archive := saved(t, "a")
	trimmed := bytes.TrimRight(archive, "\x00")
	var passed bytes.Buffer
	assert.NilError(t, pass(bytes.NewReader(trimmed), &passed, lenient{}))
	assert.DeepEqual(t, contents(t, passed.Bytes()), contents(t, archive))
}

func TestNamesInAnArchiveAreThoseThatContainerdGives(t *testing.T) {
	layout := func(index string) map[string][]byte {
		return map[string][]byte{
			"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`), "index.json": []byte(index),
			"manifest.json": []byte(`[{"RepoTags":["docker:1"]}]`),
		}
	}
	for name, test := range map[string]struct {
		texts map[string][]byte
		want  map[string]string
		err   string
	}{
		"containerd's annotation wins": {
			layout(`{"manifests":[{"digest":"sha256:1","annotations":{"io.containerd.image.name":"x.org/a:1",` +
				`"org.opencontainers.image.ref.name":"1"}}]}`),
			map[string]string{"x.org/a:1": "sha256:1"},
			"",
		},
		"a whole name in the other": {
			layout(`{"manifests":[{"digest":"sha256:1",` +
				`"annotations":{"org.opencontainers.image.ref.name":"x.org/a:1"}},` +
				`{"digest":"sha256:2"}]}`),
			map[string]string{"x.org/a:1": "sha256:1"},
			"",
		},
		"only a tag": {
			layout(`{"manifests":[{"digest":"sha256:1",` +
				`"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`),
			nil,
			"no image in it has a name",
		},
		"docker": {
			map[string][]byte{"manifest.json": []byte(`[{"RepoTags":["alpine","x.org/a:1"]},{"RepoTags":null}]`)},
			map[string]string{"docker.io/library/alpine:latest": "", "x.org/a:1": ""},
			"",
		},
		"docker without tag": {
			map[string][]byte{"manifest.json": []byte(`[{"RepoTags":[]}]`)},
			nil,
			"no image in it has a name",
		},
		"docker with what is no name": {
			map[string][]byte{"manifest.json": []byte(`[{"RepoTags":["alpine:1:x"]}]`)},
			nil,
			`reading image name "alpine:1:x"`,
		},
		"neither": {
			map[string][]byte{"index.json": []byte(`{}`)},
			nil,
			"neither an oci-layout nor a manifest.json",
		},
		"no JSON": {layout(`<html>`), nil, "reading its index.json"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := names(test.texts)
			if test.err != "" {
				assert.ErrorContains(t, err, test.err)
				return
			}
			assert.NilError(t, err)
			assert.DeepEqual(t, got, test.want)
		})
	}
}

func TestTooMuchBeforeAFileIsRefused(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for range 10 {
		assert.NilError(t, w.WriteHeader(&tar.Header{
			Typeflag:   tar.TypeXGlobalHeader,
			PAXRecords: map[string]string{"comment": strings.Repeat("x", 500<<10)},
		}))
	}
	assert.NilError(t, w.Close())
	assert.Assert(t, pass(bytes.NewReader(archive.Bytes()), io.Discard, lenient{}) != nil)

	archive.Reset()
	w = tar.NewWriter(&archive)
	assert.NilError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "index.json", Size: maxText + 1}))
	err := pass(io.MultiReader(bytes.NewReader(archive.Bytes()),
		readerFunc(func(p []byte) (int, error) { return len(p), nil })), io.Discard, lenient{})
	assert.ErrorContains(t, err, "lists its images")
}

// FuzzArchive passes on any bytes: a runtime never gets an image of a damaged archive, and what is has all of its files
// when it arrives.
func FuzzArchive(f *testing.F) {
	f.Add(archiveOf(f, "registry.example.org/a:v1"))
	f.Add(saved(f, "a"))
	f.Add([]byte("404 not found"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, archive []byte) {
		plain, stop, err := decompress(bytes.NewReader(archive))
		if err != nil {
			return
		}
		defer stop()
		var unpacked, passed bytes.Buffer
		err = pass(io.TeeReader(io.LimitReader(plain, 8<<20), &unpacked), &passed, lenient{})
		r := tar.NewReader(&passed)
		got := map[string]bool{}
		for {
			header, failed := r.Next()
			if failed != nil {
				if err == nil && !errors.Is(failed, io.EOF) {
					t.Fatalf("what was passed on can't be read: %v", failed)
				}
				break
			}
			got[path.Clean(header.Name)] = true
		}
		if err != nil {
			for name := range indexFiles {
				if got[name] {
					t.Fatalf("the runtime has %s although %v", name, err)
				}
			}
			return
		}
		for original := tar.NewReader(&unpacked); ; {
			header, failed := original.Next()
			if failed != nil {
				return
			}
			if !got[path.Clean(header.Name)] {
				t.Fatalf("%q was not passed on", header.Name)
			}
		}
	})
}
