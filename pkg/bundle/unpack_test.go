package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

// packed makes an archive of the entries; a regular file's content is its own name.
func packed(t *testing.T, format Format, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	var compressed io.WriteCloser = gzip.NewWriter(&out)
	if format == TarZstd {
		writer, err := zstd.NewWriter(&out)
		assert.NilError(t, err)
		compressed = writer
	}
	archive := tar.NewWriter(compressed)
	for _, entry := range entries {
		if entry.Typeflag == 0 {
			entry.Typeflag = tar.TypeReg
		}
		if entry.Mode == 0 {
			entry.Mode = 0o755
		}
		if entry.Typeflag == tar.TypeReg {
			entry.Size = int64(len(entry.Name))
		}
		assert.NilError(t, archive.WriteHeader(&entry))
		if entry.Typeflag == tar.TypeReg {
			_, err := io.WriteString(archive, entry.Name)
			assert.NilError(t, err)
		}
	}
	assert.NilError(t, archive.Close())
	assert.NilError(t, compressed.Close())
	return out.Bytes()
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestAnArchiveIsUnpackedInBothFormats(t *testing.T) {
	for _, format := range []Format{TarGzip, TarZstd} {
		t.Run(string(format), func(t *testing.T) {
			dir := t.TempDir()
			data := packed(t, format,
				tar.Header{Name: "./release/", Typeflag: tar.TypeDir},
				tar.Header{Name: "./release/kubelet"},
				tar.Header{Name: "release/cni/bin/bridge", Mode: 0o4777},
				tar.Header{Name: "release/pause-image.txt", Mode: 0o644},
				tar.Header{Name: "release/hyperkube", Typeflag: tar.TypeSymlink, Linkname: "kubelet"},
				tar.Header{Name: "release/kubelet-too", Typeflag: tar.TypeLink, Linkname: "release/kubelet"},
			)
			files, err := Receive(context.Background(), bytes.NewReader(data), format, digest(data), dir)
			assert.NilError(t, err)
			assert.Equal(t, len(files), 5)
			m := &Manifest{Files: files}
			assert.NilError(t, m.Verify(dir, ""), "links are verified as files")
			assert.Equal(t, files[3].SHA256, files[0].SHA256)
			assert.Equal(t, files[0].Path, "release/kubelet")
			assert.Equal(t, files[0].SHA256, digest([]byte("./release/kubelet")))
			for _, name := range []string{"kubelet", "hyperkube", "kubelet-too"} {
				content, err := os.ReadFile(filepath.Join(dir, "release", name))
				assert.NilError(t, err)
				assert.Equal(t, string(content), "./release/kubelet")
			}
			info, err := os.Stat(filepath.Join(dir, "release/cni/bin/bridge"))
			assert.NilError(t, err)
			assert.Equal(t, info.Mode(), os.FileMode(0o755), "neither set-user-id nor writable for others")
		})
	}
}

func TestAnArchiveThatTriesToLeaveItsFolderIsRefused(t *testing.T) {
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for name, test := range map[string]struct {
		entries []tar.Header
		entry   string
	}{
		"absolute path":               {[]tar.Header{{Name: "/etc/passwd"}}, "/etc/passwd"},
		"dots in front":               {[]tar.Header{{Name: "../evil"}}, "../evil"},
		"dots in the middle":          {[]tar.Header{{Name: "release/../../evil"}}, "release/../../evil"},
		"dots that stay inside":       {[]tar.Header{{Name: "release/../evil"}}, "release/../evil"},
		"a folder outside":            {[]tar.Header{{Name: "../evil/", Typeflag: tar.TypeDir}}, "../evil/"},
		"a link to an absolute path":  {[]tar.Header{link("release/etc", "/etc")}, "release/etc"},
		"a link outside":              {[]tar.Header{link("release/up", "../../x")}, "release/up"},
		"a link with an empty target": {[]tar.Header{link("release/up", "")}, "release/up"},
		"a link that leads nowhere":   {[]tar.Header{link("release/up", "missing")}, "release/up"},
		"a file through a link that swaps": {
			[]tar.Header{{Name: "d/file"}, link("l", "d"), {Name: "l/file"}},
			"l/file",
		},
		"a hard link outside": {[]tar.Header{{
			Name: "release/passwd", Typeflag: tar.TypeLink,
			Linkname: "/etc/passwd",
		}}, "release/passwd"},
		"a hard link upwards": {[]tar.Header{{
			Name: "release/passwd", Typeflag: tar.TypeLink,
			Linkname: "../../etc/passwd",
		}}, "release/passwd"},
		"a character device": {[]tar.Header{{
			Name: "release/null", Typeflag: tar.TypeChar, Devmajor: 1,
			Devminor: 3,
		}}, "release/null"},
		"a block device": {
			[]tar.Header{{Name: "release/disk", Typeflag: tar.TypeBlock}},
			"release/disk",
		},
		"a named pipe": {
			[]tar.Header{{Name: "release/pipe", Typeflag: tar.TypeFifo}},
			"release/pipe",
		},
		"the same name twice": {
			[]tar.Header{{Name: "release/kubelet"}, {Name: "./release/kubelet"}},
			"./release/kubelet",
		},
		"a link over a file": {
			[]tar.Header{{Name: "release/kubelet"}, link("release/kubelet", "x")},
			"release/kubelet",
		},
		"a link to a folder":          {[]tar.Header{{Name: "d/file"}, link("l", "d")}, "l"},
		"links that lead in a circle": {[]tar.Header{link("a", "b"), link("b", "a")}, "a"},
		"links that only together go out": {[]tar.Header{
			{Name: "a/b/c/file"},
			{Name: "d/file"},
			link("a/b/c/one", "../../../d"), link("a/b/c/two", "one/../../outside"),
		}, "a/b/c/one"},
		"a hard link to what comes later": {[]tar.Header{
			{Name: "a", Typeflag: tar.TypeLink, Linkname: "b"}, {Name: "b"},
		}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "target")
			assert.NilError(t, os.Mkdir(dir, 0o755))
			data := packed(t, TarGzip, test.entries...)

			_, err := Receive(context.Background(), bytes.NewReader(data), TarGzip, digest(data), dir)

			var refused *RefusedError
			assert.Assert(t, errors.As(err, &refused), "%v", err)
			assert.Equal(t, refused.Entry, test.entry)
			assert.ErrorContains(t, err, test.entry)
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			entries, err := os.ReadDir(outer)
			assert.NilError(t, err)
			assert.Equal(t, len(entries), 1, "something was written beside the target")
		})
	}
}

func TestNothingIsWrittenThroughALinkThatLeavesTheFolder(t *testing.T) {
	// The link is made behind the archive's back: even then the file must not get out.
	outer := t.TempDir()
	dir := filepath.Join(outer, "target")
	assert.NilError(t, os.Mkdir(dir, 0o755))
	assert.NilError(t, os.Symlink(outer, filepath.Join(dir, "out")))
	data := packed(t, TarGzip, tar.Header{Name: "out/evil"})
	_, err := Receive(context.Background(), bytes.NewReader(data), TarGzip, digest(data), dir)
	var refused *RefusedError
	assert.Assert(t, errors.As(err, &refused), "%v", err)
	_, err = os.Stat(filepath.Join(outer, "evil"))
	assert.Assert(t, os.IsNotExist(err))
}

func TestADamagedArchiveIsToldByItsDigest(t *testing.T) {
	good := packed(t, TarGzip, tar.Header{Name: "release/kubelet"}, tar.Header{Name: "release/kubeadm"})
	for name, data := range map[string][]byte{
		"a flipped bit": append(append([]byte{}, good[:len(good)/2]...),
			append([]byte{good[len(good)/2] ^ 1}, good[len(good)/2+1:]...)...),
		"cut off":            good[:len(good)-20],
		"something appended": append(append([]byte{}, good...), "trailing"...),
		"not an archive":     []byte("<html>404 not found</html>"),
		"empty":              {},
		"another archive":    packed(t, TarGzip, tar.Header{Name: "release/other"}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Receive(context.Background(), bytes.NewReader(data), TarGzip, digest(good), t.TempDir())
			var mismatch *DigestError
			assert.Assert(t, errors.As(err, &mismatch), "%v", err)
			assert.Equal(t, mismatch.Want, digest(good))
			assert.Equal(t, mismatch.Got, digest(data))
			assert.ErrorContains(t, err, digest(good))
			assert.ErrorContains(t, err, digest(data))
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
		})
	}
}

func TestAnErrorOfTheSourceIsReturnedAsItIs(t *testing.T) {
	data := packed(t, TarGzip, tar.Header{Name: "release/kubelet"})
	lost := errclass.With(errclass.Transient, errors.New("connection lost"))
	_, err := Receive(context.Background(), io.MultiReader(bytes.NewReader(data[:30]), &failing{lost}), TarGzip,
		digest(data), t.TempDir())
	assert.ErrorIs(t, err, lost)
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestTheFormatIsToldByTheName(t *testing.T) {
	for name, want := range map[string]Format{
		"kubernetes-v1.34.4-amd64.tar.gz": TarGzip, "x.tar.zst": TarZstd,
		"x.zip": "", "tar.gz": "",
	} {
		got, err := FormatOf(name)
		assert.Equal(t, got, want, name)
		assert.Equal(t, err == nil, want != "", name)
	}
}

func FuzzUnpackStaysInItsFolder(f *testing.F) {
	f.Add("release/kubelet", "", byte(tar.TypeReg))
	f.Add("../evil", "", byte(tar.TypeReg))
	f.Add("a", "../..", byte(tar.TypeSymlink))
	f.Add("a/b", "/etc/passwd", byte(tar.TypeLink))
	f.Fuzz(func(t *testing.T, name, target string, kind byte) {
		var plain bytes.Buffer
		archive := tar.NewWriter(&plain)
		header := &tar.Header{Name: name, Linkname: target, Typeflag: kind, Mode: 0o755}
		if archive.WriteHeader(header) != nil || archive.WriteHeader(&tar.Header{
			Name:     name + "/evil",
			Typeflag: tar.TypeReg,
		}) != nil || archive.Close() != nil {
			t.Skip()
		}
		var data bytes.Buffer
		writer := gzip.NewWriter(&data)
		_, _ = writer.Write(plain.Bytes())
		_ = writer.Close()
		outer := t.TempDir()
		dir := filepath.Join(outer, "target")
		assert.NilError(t, os.Mkdir(dir, 0o755))
		_, _ = Unpack(context.Background(), &data, TarGzip, dir)
		entries, err := os.ReadDir(outer)
		assert.NilError(t, err)
		assert.Equal(t, len(entries), 1)
	})
}

// Any bytes at all, past the decompressor. The size that they claim is bounded, since a header of some bytes may
// describe a sparse file of gigabytes.
func FuzzAnyArchiveStaysInItsFolder(f *testing.F) {
	for _, entries := range [][]tar.Header{
		{{Name: "release/kubelet"}, {Name: "release/x", Typeflag: tar.TypeSymlink, Linkname: "kubelet"}},
		{{Name: "../evil"}},
		{{Name: "a", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "a/evil"}},
		{
			{Name: "a/b/c/file"},
			{Name: "a/b/c/one", Typeflag: tar.TypeSymlink, Linkname: "../../.."},
			{Name: "two", Typeflag: tar.TypeLink, Linkname: "a/b/c/one/evil"},
		},
	} {
		var plain bytes.Buffer
		archive := tar.NewWriter(&plain)
		for _, entry := range entries {
			if entry.Typeflag == 0 {
				entry.Typeflag = tar.TypeReg
			}
			assert.NilError(f, archive.WriteHeader(&entry))
		}
		assert.NilError(f, archive.Close())
		f.Add(plain.Bytes())
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		if unpackedSize(plain) > 1<<20 {
			t.Skip()
		}
		outer := t.TempDir()
		dir := filepath.Join(outer, "target")
		assert.NilError(t, os.Mkdir(dir, 0o755))
		root, err := os.OpenRoot(dir)
		assert.NilError(t, err)
		defer root.Close()
		u := &unpacking{root: root, seen: map[string]bool{}}
		err = errors.Join(u.entries(context.Background(), tar.NewReader(bytes.NewReader(plain))), u.makeLinks())
		entries, readErr := os.ReadDir(outer)
		assert.NilError(t, readErr)
		assert.Equal(t, len(entries), 1, "something was written beside the target")
		if err != nil {
			return
		}
		for _, file := range u.files {
			assert.Assert(t, filepath.IsLocal(file.Path), file.Path)
		}
	})
}

// unpackedSize returns the size that an archive claims, as far as it can be read.
func unpackedSize(plain []byte) (size int64) {
	for archive := tar.NewReader(bytes.NewReader(plain)); ; {
		header, err := archive.Next()
		if err != nil {
			return size
		}
		size += header.Size
	}
}
