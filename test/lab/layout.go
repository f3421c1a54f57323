package lab

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// imageNameAnnotation is where an OCI layout keeps an image's whole name.
const imageNameAnnotation = "io.containerd.image.name"

// isLayout reports whether an archive is an OCI layout, whose first file marks it as one.
func isLayout(archive string) (bool, error) {
	file, err := os.Open(archive)
	if err != nil {
		return false, fmt.Errorf("opening image archive %q: %w", archive, err)
	}
	defer file.Close()
	first, err := tar.NewReader(file).Next()
	if err != nil {
		return false, fmt.Errorf("reading image archive %q: %w", archive, err)
	}
	return path.Clean(first.Name) == "oci-layout", nil
}

// layoutContent is an OCI layout whose blobs are in the registry already.
type layoutContent struct {
	names v1.IndexManifest
	// small are the blobs that may be manifests, by digest.
	small map[string][]byte
}

// publishLayout publishes every name of an OCI layout.
func (l *Lab) publishLayout(ctx context.Context, archive string) ([]published, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("opening it: %w", err)
	}
	defer file.Close()
	content, err := l.readLayout(ctx, tar.NewReader(file))
	if err != nil {
		return nil, err
	}
	var done []published
	for _, named := range content.names.Manifests {
		target, err := inRegistry(named.Annotations[imageNameAnnotation])
		if err != nil {
			return nil, err
		}
		if err := content.push(ctx, target, named); err != nil {
			return nil, fmt.Errorf("pushing %q: %w", target, err)
		}
		done = append(done, published{target.String(), named.Digest.String()})
	}
	return done, nil
}

// readLayout writes the blobs to the registry's disk as it meets them and keeps
// those that are small enough for a manifest.
func (l *Lab) readLayout(ctx context.Context, archive *tar.Reader) (layoutContent, error) {
	content := layoutContent{small: map[string][]byte{}}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return content, nil
		} else if err != nil {
			return layoutContent{}, fmt.Errorf("reading the archive: %w", err)
		}
		file := path.Clean(header.Name)
		switch blob, isBlob := strings.CutPrefix(file, "blobs/sha256/"); {
		case file == "index.json":
			if err := json.NewDecoder(archive).Decode(&content.names); err != nil {
				return layoutContent{}, fmt.Errorf("reading the archive's names: %w", err)
			}
		case isBlob:
			if err := l.takeBlob(ctx, v1.Hash{Algorithm: "sha256", Hex: blob}, header.Size, archive,
				content.small); err != nil {
				return layoutContent{}, err
			}
		}
	}
}

func (l *Lab) takeBlob(ctx context.Context, digest v1.Hash, size int64, content io.Reader,
	small map[string][]byte,
) error {
	if size <= largestManifest {
		text, err := io.ReadAll(content)
		if err != nil {
			return fmt.Errorf("reading blob %q: %w", digest, err)
		}
		small[digest.String()] = text
		content = strings.NewReader(string(text))
	}
	return l.writeBlob(ctx, digest, func() (io.ReadCloser, error) { return io.NopCloser(content), nil })
}

// push pushes a manifest and, first, those that it lists.
func (c layoutContent) push(ctx context.Context, target name.Reference, d v1.Descriptor) error {
	text, ok := c.small[d.Digest.String()]
	if !ok {
		return fmt.Errorf("looking for manifest %q: the archive does not hold it", d.Digest)
	}
	if d.MediaType.IsIndex() {
		var index v1.IndexManifest
		if err := json.Unmarshal(text, &index); err != nil {
			return fmt.Errorf("reading index %q: %w", d.Digest, err)
		}
		for _, child := range index.Manifests {
			if err := c.push(ctx, target.Context().Digest(child.Digest.String()), child); err != nil {
				return err
			}
		}
	}
	if err := remote.Put(target, rawManifest{text, d.MediaType}, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing manifest %q: %w", d.Digest, err)
	}
	return nil
}

// rawManifest is a manifest as it is in an archive.
type rawManifest struct {
	text []byte
	kind types.MediaType
}

func (r rawManifest) RawManifest() ([]byte, error)        { return r.text, nil }
func (r rawManifest) MediaType() (types.MediaType, error) { return r.kind, nil }
