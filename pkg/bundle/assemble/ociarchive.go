package assemble

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
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

// ociLayout is the file that makes a folder, or an archive, an OCI layout.
const ociLayout = `{"imageLayoutVersion":"1.0.0"}`

// WriteArchive writes all tags as one OCI layout in a tar, which `ctr images import` takes and skopeo calls
// oci-archive. Each layer is in it once.
func (i *Image) WriteArchive(ctx context.Context, path string) error {
	out, err := create(path)
	if err != nil {
		return err
	}
	defer out.discard()
	archive := &ociArchive{
		ctx: ctx, tar: tar.NewWriter(out), written: map[v1.Hash]bool{},
		buffer: make([]byte, copyBuffer),
	}
	if err := archive.write(i); err != nil {
		return fmt.Errorf("writing image archive %q: %w", path, err)
	}
	return out.commit()
}

// ociArchive is written in one go: nothing of it is on disk twice.
type ociArchive struct {
	ctx     context.Context
	tar     *tar.Writer
	written map[v1.Hash]bool
	buffer  []byte
}

func (o *ociArchive) write(image *Image) error {
	if err := o.file("oci-layout", int64(len(ociLayout)), bytes.NewReader([]byte(ociLayout))); err != nil {
		return err
	}
	names := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, tagged := range image.tags {
		descriptor, err := o.index(tagged.index)
		if err != nil {
			return fmt.Errorf("adding tag %q: %w", tagged.tag, err)
		}
		descriptor.Annotations = map[string]string{
			containerdName: image.repository.Tag(tagged.tag).Name(),
			ociName:        tagged.tag,
		}
		names.Manifests = append(names.Manifests, descriptor)
	}
	text, err := json.Marshal(names)
	if err != nil {
		return fmt.Errorf("writing the index of names: %w", err)
	}
	if err := o.file("index.json", int64(len(text)), bytes.NewReader(text)); err != nil {
		return err
	}
	return o.tar.Close()
}

// index adds an index with all beneath it and describes it.
func (o *ociArchive) index(index v1.ImageIndex) (v1.Descriptor, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, child := range manifest.Manifests {
		image, err := index.Image(child.Digest)
		if err != nil {
			return v1.Descriptor{}, err
		}
		if err := o.image(image); err != nil {
			return v1.Descriptor{}, fmt.Errorf("adding the image for %s: %w", child.Platform, err)
		}
	}
	text, err := index.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	descriptor := v1.Descriptor{MediaType: types.OCIImageIndex, Size: int64(len(text)), Digest: digest}
	return descriptor, o.text(digest, text)
}

func (o *ociArchive) image(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := o.layer(l); err != nil {
			return fmt.Errorf("adding a layer: %w", err)
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return err
	}
	if err := o.text(configDigest, config); err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	return o.text(digest, manifest)
}

func (o *ociArchive) layer(l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	content, err := l.Compressed()
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	return o.blob(digest, size, content)
}

func (o *ociArchive) text(digest v1.Hash, text []byte) error {
	return o.blob(digest, int64(len(text)), bytes.NewReader(text))
}

// blob adds a blob unless the archive has it.
func (o *ociArchive) blob(digest v1.Hash, size int64, content io.Reader) error {
	if o.written[digest] {
		return nil
	}
	o.written[digest] = true
	return o.file("blobs/"+digest.Algorithm+"/"+digest.Hex, size, content)
}

func (o *ociArchive) file(name string, size int64, content io.Reader) error {
	if err := o.ctx.Err(); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	if err := o.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{o.tar}, struct{ io.Reader }{content}, o.buffer); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	return nil
}
