package images

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations by which containerd and others find the name of an image in an archive.
const (
	containerdName = "io.containerd.image.name"
	ociName        = "org.opencontainers.image.ref.name"
)

// ociLayout is the file that makes an archive an OCI layout.
const ociLayout = `{"imageLayoutVersion":"1.0.0"}`

// layout is an OCI layout as a tar that is made while it is read: its size is known, and only small parts of it are
// held in memory.
type layout struct {
	pieces  []piece
	size    int64
	written map[v1.Hash]bool
}

// piece is a part of the tar. Each is opened when it is its turn.
type piece func(ctx context.Context) (io.ReadCloser, error)

func newLayout() (*layout, error) {
	l := &layout{written: map[v1.Hash]bool{}}
	return l, l.text("oci-layout", []byte(ociLayout))
}

// name makes target an image of the layout.
func (l *layout) name(target v1.Descriptor, full string) error {
	target.Annotations = map[string]string{containerdName: full, ociName: full}
	text, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{target},
	})
	if err != nil {
		return fmt.Errorf("writing the index of names: %w", err)
	}
	return l.text("index.json", text)
}

// manifest adds a manifest or index.
func (l *layout) manifest(digest v1.Hash, text []byte) error {
	return l.blob(digest, int64(len(text)), memory(text))
}

// blob adds a blob, unless it is there.
func (l *layout) blob(digest v1.Hash, size int64, open piece) error {
	if l.written[digest] {
		return nil
	}
	l.written[digest] = true
	return l.file("blobs/"+digest.Algorithm+"/"+digest.Hex, size, open)
}

func (l *layout) text(name string, text []byte) error {
	return l.file(name, int64(len(text)), memory(text))
}

func (l *layout) file(name string, size int64, open piece) error {
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
		Size: size,
	}); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	l.add(int64(header.Len()), memory(header.Bytes()))
	l.add(size, open)
	if over := size % blockSize; over > 0 {
		l.padding(blockSize - over)
	}
	return nil
}

// blockSize is the size in bytes that each file in a tar is padded to.
const blockSize = 512

func (l *layout) end() { l.padding(2 * blockSize) }

func (l *layout) padding(size int64) { l.add(size, memory(make([]byte, size))) }

func (l *layout) add(size int64, open piece) {
	l.size += size
	l.pieces = append(l.pieces, open)
}

func memory(text []byte) piece {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
}

// open reads the tar from its start.
func (l *layout) open(ctx context.Context) (io.ReadCloser, error) {
	return &layoutReader{ctx: ctx, left: l.pieces}, nil
}

type layoutReader struct {
	ctx  context.Context
	left []piece
	now  io.ReadCloser
}

func (r *layoutReader) Read(p []byte) (int, error) {
	for {
		if r.now == nil {
			if len(r.left) == 0 {
				return 0, io.EOF
			}
			now, err := r.left[0](r.ctx)
			if err != nil {
				return 0, err
			}
			r.now, r.left = now, r.left[1:]
		}
		n, err := r.now.Read(p)
		if errors.Is(err, io.EOF) {
			// The last bytes may come together with the end.
			_ = r.Close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *layoutReader) Close() error {
	if r.now == nil {
		return nil
	}
	now := r.now
	r.now = nil
	return now.Close()
}
