package store

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// chunkBytes is the size at which a file with keys is full. The files are made in memory, since tar wants to know their
// size first, so that neither writing nor reading an archive needs more than one of them.
const chunkBytes = 4 << 20

// Writer makes an archive: parts and keys in any order, and the manifest at the end.
type Writer struct {
	zip   *zstd.Encoder
	tar   *tar.Writer
	parts []Part
	taken time.Time

	chunk  []byte
	chunks int
	keys   int
}

// newWriter writes an archive to w. taken is the time that it tells.
func newWriter(w io.Writer, taken time.Time) (*Writer, error) {
	zip, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compressing an archive: %w", err)
	}
	return &Writer{zip: zip, tar: tar.NewWriter(zip), taken: taken.UTC().Truncate(time.Second)}, nil
}

// Add puts a file into the archive; its name begins with PKIPrefix or documentsPrefix.
func (w *Writer) Add(name string, content []byte) error {
	sum := sha256.Sum256(content)
	w.parts = append(w.parts, Part{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
	return w.file(name, content)
}

func (w *Writer) file(name string, content []byte) error {
	header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: w.taken, Typeflag: tar.TypeReg}
	if err := w.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("writing %q to the archive: %w", name, err)
	}
	if _, err := w.tar.Write(content); err != nil {
		return fmt.Errorf("writing %q to the archive: %w", name, err)
	}
	return nil
}

func (w *Writer) addPair(p pair) error {
	w.keys++
	w.chunk = appendRecord(w.chunk, p)
	if len(w.chunk) < chunkBytes {
		return nil
	}
	return w.flush()
}

// flush ends a file with keys.
func (w *Writer) flush() error {
	if len(w.chunk) == 0 {
		return nil
	}
	w.chunks++
	err := w.Add(fmt.Sprintf("%s%08d", storePrefix, w.chunks), w.chunk)
	w.chunk = w.chunk[:0]
	return err
}

// Close ends the archive with its manifest, which it returns.
func (w *Writer) Close(about About, revision int64) (Manifest, error) {
	if err := w.flush(); err != nil {
		return Manifest{}, err
	}
	manifest := Manifest{Format: format, About: about, Revision: revision, Keys: w.keys, Taken: w.taken, Parts: w.parts}
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return Manifest{}, fmt.Errorf("encoding the archive's manifest: %w", err)
	}
	if err := w.file(manifestName, text); err != nil {
		return Manifest{}, err
	}
	if err := w.tar.Close(); err != nil {
		return Manifest{}, fmt.Errorf("ending the archive: %w", err)
	}
	if err := w.zip.Close(); err != nil {
		return Manifest{}, fmt.Errorf("ending the archive: %w", err)
	}
	return manifest, nil
}
