package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// layer is an image layer on disk, of which only a buffer is ever in memory.
type layer struct {
	path           string
	digest, diffID v1.Hash
	size           int64
}

var _ v1.Layer = (*layer)(nil)

// writeLayer writes the entries as a layer at path. Every layer is gzip, as some readers expect without looking.
// Content that is compressed already, or stays local, is stored in it with gzip.NoCompression.
func writeLayer(ctx context.Context, path string, entries []entry, level int) (*layer, error) {
	out, err := create(path)
	if err != nil {
		return nil, err
	}
	defer out.discard()
	compressed, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		return nil, fmt.Errorf("compressing layer %q: %w", path, err)
	}
	plain := sha256.New()
	if err := writeTar(ctx, io.MultiWriter(plain, compressed), "", entries); err != nil {
		return nil, fmt.Errorf("writing layer %q: %w", path, err)
	}
	if err := compressed.Close(); err != nil {
		return nil, fmt.Errorf("compressing layer %q: %w", path, err)
	}
	if err := out.commit(); err != nil {
		return nil, err
	}
	return &layer{
		path: path, size: out.size,
		digest: v1.Hash{Algorithm: "sha256", Hex: out.digest()},
		diffID: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(plain.Sum(nil))},
	}, nil
}

// Digest returns the digest of the layer as it is stored.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the digest of the uncompressed layer.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size returns the size of the layer as it is stored.
func (l *layer) Size() (int64, error) { return l.size, nil }

// MediaType returns the type of a gzip layer.
func (l *layer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

// Compressed opens the layer as it is stored.
func (l *layer) Compressed() (io.ReadCloser, error) {
	file, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("opening layer %q: %w", l.path, err)
	}
	return file, nil
}

// Uncompressed opens the layer's tar.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	file, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	plain, err := gzip.NewReader(file)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reading layer %q: %w", l.path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{plain, file}, nil
}
