package assemble

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"argosy.dev/argosy/internal/atomicfile"
	"argosy.dev/argosy/pkg/bundle"
)

// copyBuffer bounds the part of a binary in memory, in bytes.
const copyBuffer = 1 << 20

// entry is one file of an archive, from disk or with the text given.
type entry struct {
	// name in the archive, with slashes and without a leading "./".
	name string
	mode int64
	// sticky makes it a folder with mode 1777.
	sticky bool
	source string
	text   string
}

// writeTar writes the entries sorted, each folder before its files. All times are zero and all owners root, so that
// equal files give equal archives. prefix is put before each name.
func writeTar(ctx context.Context, w io.Writer, prefix string, entries []entry) error {
	archive := &archiveWriter{
		tar: tar.NewWriter(w), prefix: prefix, folders: map[string]bool{".": true},
		buffer: make([]byte, copyBuffer),
	}
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range sorted {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("adding %q: %w", e.name, err)
		}
		if err := archive.add(e); err != nil {
			return fmt.Errorf("adding %q: %w", e.name, err)
		}
	}
	if err := archive.tar.Close(); err != nil {
		return fmt.Errorf("ending the archive: %w", err)
	}
	return nil
}

type archiveWriter struct {
	tar     *tar.Writer
	prefix  string
	folders map[string]bool
	buffer  []byte
}

func (a *archiveWriter) add(e entry) error {
	if e.sticky {
		return a.folder(e.name, 0o1777)
	}
	if err := a.folder(path.Dir(e.name), 0o755); err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: a.prefix + e.name, Mode: e.mode, Size: int64(len(e.text))}
	if e.source == "" {
		if err := a.tar.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(a.tar, e.text)
		return err
	}
	source, err := os.Open(e.source)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{a.tar}, struct{ io.Reader }{source}, a.buffer)
	return err
}

func (a *archiveWriter) folder(name string, mode int64) error {
	if a.folders[name] {
		return nil
	}
	if err := a.folder(path.Dir(name), 0o755); err != nil {
		return err
	}
	a.folders[name] = true
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: a.prefix + name + "/", Mode: mode})
}

// compress wraps w. Closing the returned writer ends the compressed stream and leaves w open. Neither format is written
// by several goroutines: how they share the work would show in the bytes.
func compress(w io.Writer, format bundle.Format) (io.WriteCloser, error) {
	switch format {
	case bundle.TarGzip:
		// The header's time and name stay empty.
		return gzip.NewWriter(w), nil
	case bundle.TarZstd:
		encoder, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("compressing as %q: %w", format, err)
		}
		return encoder, nil
	}
	return nil, fmt.Errorf("compressing as %q: only tar.gz and tar.zst are known", format)
}

// output is a file that gets its name, and has a digest, when it is complete.
type output struct {
	path string
	file *atomicfile.File
	sum  hash.Hash
	size int64
}

// create makes the folders above path too. Exactly one of commit and discard must follow; discard after commit does
// nothing.
func create(path string) (*output, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %q: %w", path, err)
	}
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, fmt.Errorf("creating %q: %w", path, err)
	}
	return &output{path: path, file: file, sum: sha256.New()}, nil
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.file.Write(p)
	o.sum.Write(p[:n])
	o.size += int64(n)
	return n, err
}

// commit names the file; anyone may read it.
func (o *output) commit() error {
	if err := o.file.Commit(0o644); err != nil {
		return fmt.Errorf("writing %q: %w", o.path, err)
	}
	return nil
}

func (o *output) discard() { o.file.Discard() }

// digest returns the digest of the written bytes, hex.
func (o *output) digest() string { return hex.EncodeToString(o.sum.Sum(nil)) }

// writeFile writes a small file by rename.
func writeFile(path string, content []byte) error {
	out, err := create(path)
	if err != nil {
		return err
	}
	defer out.discard()
	if _, err := out.Write(content); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return out.commit()
}
