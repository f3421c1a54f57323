package release

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is the plugin's image for one architecture.
type Image struct {
	// Program and Certificates are the files that it is made of.
	Program, Certificates string
	// Arch as Go names it.
	Arch string
	// Created is zero where only the content should decide about the digest.
	Created time.Time
	// Labels as OCI names them, such as org.opencontainers.image.version.
	Labels map[string]string
}

// Build returns the image: a layer with the authorities, one with the program. The same inputs give the same digest.
func (i Image) Build() (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: i.Arch, Created: v1.Time{Time: i.Created}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/executor-plugin"}, User: "8737", Labels: i.Labels},
	})
	if err != nil {
		return nil, fmt.Errorf("describing the image: %w", err)
	}
	for _, file := range []struct{ from, to string }{
		// Where Debian keeps them, and where Go looks first.
		{i.Certificates, "etc/ssl/certs/ca-certificates.crt"},
		{i.Program, "executor-plugin"},
	} {
		content, err := os.ReadFile(file.from)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", file.from, err)
		}
		layer, err := layerOf(file.to, content)
		if err != nil {
			return nil, fmt.Errorf("making a layer of %q: %w", file.from, err)
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, fmt.Errorf("adding %q: %w", file.from, err)
		}
	}
	return image, nil
}

// layerOf makes a layer with one file, without a time or an owner that would differ from build to build.
func layerOf(path string, content []byte) (v1.Layer, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	header := &tar.Header{Name: path, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := writer.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := writer.Write(content); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}

// image makes the image of both architectures, and returns it as an OCI layout in an archive.
func (r Release) image(made *Made) (map[string][]byte, error) {
	made.Image = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var entries []entry
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := Image{
			Program: r.program("linux-"+arch, imageName), Certificates: r.Certificates, Arch: arch, Created: r.Created,
			Labels: map[string]string{
				"org.opencontainers.image.version": r.Version, "org.opencontainers.image.revision": r.Commit,
				"org.opencontainers.image.source": source,
			},
		}.Build()
		if err != nil {
			return nil, fmt.Errorf("building the image for %q: %w", arch, err)
		}
		blobs, err := blobsOf(image)
		if err != nil {
			return nil, err
		}
		entries = append(entries, blobs...)
		made.Image = mutate.AppendManifests(made.Image, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	layout, err := r.layoutOf(made.Image)
	if err != nil {
		return nil, err
	}
	archive, err := r.tarOf(unique(append(entries, layout...)))
	return map[string][]byte{fmt.Sprintf("%s_%s_oci.tar", imageName, r.Version): archive}, err
}

// layoutOf returns the files of an OCI layout beside the blobs of its images: its index, which names the image by tag.
func (r Release) layoutOf(index v1.ImageIndex) ([]entry, error) {
	manifest, err := index.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("encoding the image's index: %w", err)
	}
	sum, err := index.Digest()
	if err != nil {
		return nil, fmt.Errorf("hashing the image's index: %w", err)
	}
	top, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIImageIndex, Digest: sum, Size: int64(len(manifest)),
			Annotations: map[string]string{"org.opencontainers.image.ref.name": r.Version},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the layout's index: %w", err)
	}
	return []entry{
		blob(sum, manifest),
		{name: "index.json", mode: 0o644, content: top},
		{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
	}, nil
}

// blobsOf returns an image's manifest, configuration and layers as the files of an OCI layout.
func blobsOf(image v1.Image) ([]entry, error) {
	manifest, err := image.RawManifest()
	if err != nil {
		return nil, fmt.Errorf("encoding a manifest: %w", err)
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("encoding an image's configuration: %w", err)
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, fmt.Errorf("listing an image's layers: %w", err)
	}
	entries := []entry{blob(hashOf(manifest), manifest), blob(hashOf(config), config)}
	for _, layer := range layers {
		compressed, err := layer.Compressed()
		if err != nil {
			return nil, fmt.Errorf("opening a layer: %w", err)
		}
		content, err := io.ReadAll(compressed)
		if err != nil {
			return nil, fmt.Errorf("reading a layer: %w", err)
		}
		entries = append(entries, blob(hashOf(content), content))
	}
	return entries, nil
}

func blob(sum v1.Hash, content []byte) entry {
	return entry{name: "blobs/" + strings.Replace(sum.String(), ":", "/", 1), mode: 0o644, content: content}
}

// unique leaves out entries of a name that is there already, such as the layer that both architectures share.
func unique(entries []entry) []entry {
	var kept []entry
	seen := map[string]bool{}
	for _, e := range entries {
		if !seen[e.name] {
			kept = append(kept, e)
		}
		seen[e.name] = true
	}
	return kept
}
