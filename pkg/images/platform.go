package images

import (
	"bytes"
	"context"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"argosy.dev/argosy/pkg/errclass"
)

// platform adds to an archive the content of an index for an architecture.
func (r *registries) platform(ctx context.Context, archive *layout, image name.Reference, text []byte,
	arch string,
) error {
	index, err := v1.ParseIndexManifest(bytes.NewReader(text))
	if err != nil {
		return errclass.Errorf(errclass.Permanent, "reading its index: %w", err)
	}
	chosen, travelling, err := choose(imageName(image), index, arch)
	if err != nil {
		return err
	}
	for _, one := range travelling {
		manifest, err := r.get(ctx, image.Context().Digest(one.Digest.String()))
		if err != nil {
			return err
		}
		if err := archive.manifest(one.Digest, manifest.Manifest); err != nil {
			return err
		}
		if one.Digest != chosen.Digest {
			continue
		}
		if _, err := r.content(archive, image, manifest.Manifest); err != nil {
			return err
		}
	}
	return nil
}

// single adds an image that comes in one platform only, if it is the right one.
func (r *registries) single(ctx context.Context, archive *layout, image name.Reference, text []byte,
	arch string,
) error {
	manifest, err := r.content(archive, image, text)
	if err != nil {
		return err
	}
	return r.checkPlatform(ctx, image, manifest, arch)
}

// content adds the blobs that a manifest lists.
func (r *registries) content(archive *layout, image name.Reference, text []byte) (*v1.Manifest, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "reading its manifest: %w", err)
	}
	for _, blob := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		err := archive.blob(blob.Digest, blob.Size, func(ctx context.Context) (io.ReadCloser, error) {
			return r.blob(ctx, image.Context(), blob.Digest)
		})
		if err != nil {
			return nil, err
		}
	}
	return manifest, nil
}
