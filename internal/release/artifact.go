package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// artifact is something else than an image in a registry: one layer of any type, with a configuration of any type.
type artifact struct {
	config   []byte
	layer    v1.Layer
	manifest []byte
}

var _ partial.CompressedImageCore = (*artifact)(nil)

// artifactOf returns the artifact as go-containerregistry pushes it.
func artifactOf(config []byte, configType types.MediaType, content []byte, contentType types.MediaType,
	layerAnnotations, annotations map[string]string,
) (v1.Image, error) {
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: configType, Digest: hashOf(config), Size: int64(len(config))},
		Layers: []v1.Descriptor{{
			MediaType: contentType, Digest: hashOf(content), Size: int64(len(content)), Annotations: layerAnnotations,
		}},
		Annotations: annotations,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a manifest: %w", err)
	}
	return partial.CompressedToImage(&artifact{
		config: config, layer: static.NewLayer(content, contentType), manifest: manifest,
	})
}

// RawConfigFile returns the configuration.
func (a *artifact) RawConfigFile() ([]byte, error) { return a.config, nil }

// RawManifest returns the manifest.
func (a *artifact) RawManifest() ([]byte, error) { return a.manifest, nil }

// MediaType returns that of the manifest.
func (a *artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// LayerByDigest returns the only layer.
func (a *artifact) LayerByDigest(wanted v1.Hash) (partial.CompressedLayer, error) {
	has, err := a.layer.Digest()
	if err != nil || has != wanted {
		return nil, fmt.Errorf("looking for layer %q: the artifact has %q", wanted, has)
	}
	return a.layer, nil
}

func digest(content []byte) []byte {
	sum := sha256.Sum256(content)
	return sum[:]
}

func hashOf(content []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest(content))}
}
