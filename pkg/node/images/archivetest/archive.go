// Package archivetest writes archives of images for tests and benchmarks: small or large, with new random content, so
// that the runtime does not have it already.
package archivetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
)

// Image is an image with one layer, which has one file of random bytes.
type Image struct {
	// Name as pods give it, "registry.example.org/app:v1".
	Name string
	// Size of the file in bytes.
	Size int64
	// Seed makes the bytes: another one makes another image.
	Seed [32]byte
	// Program is put into the layer as /program beside it, and run when the image is started; nil for none.
	Program []byte
	// Arch the image is for, in Go's names. Default: this computer's.
	Arch string
}

// descriptor describes a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// parts of an image beside its layer.
type parts struct {
	layer            descriptor
	config, manifest []byte
}

// WriteLayout writes the image as a tar of an OCI layout, and returns the digest that its name leads to.
func (i Image) WriteLayout(w io.Writer) (digest string, err error) {
	p, err := i.parts()
	if err != nil {
		return "", err
	}
	digest = sum(p.manifest)
	index := encode(map[string]any{"schemaVersion": 2, "manifests": []descriptor{{
		MediaType: manifestType, Digest: digest, Size: int64(len(p.manifest)),
		Annotations: map[string]string{"io.containerd.image.name": i.Name},
	}}})
	archive := tar.NewWriter(w)
	// The files that name the image come first, as in archives of other programs.
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{blob(digest), p.manifest},
		{blob(sum(p.config)), p.config},
	} {
		if err := add(archive, file.name, file.content); err != nil {
			return "", err
		}
	}
	if err := i.addLayer(archive, blob(p.layer.Digest), p.layer.Size); err != nil {
		return "", err
	}
	return digest, archive.Close()
}

// WriteSaved writes the image as `docker save` does.
func (i Image) WriteSaved(w io.Writer) error {
	p, err := i.parts()
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	if err := i.addLayer(archive, "layer/layer.tar", p.layer.Size); err != nil {
		return err
	}
	if err := add(archive, "config.json", p.config); err != nil {
		return err
	}
	manifest := encode([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{i.Name},
		"Layers": []string{"layer/layer.tar"},
	}})
	if err := add(archive, "manifest.json", manifest); err != nil {
		return err
	}
	return archive.Close()
}

func (i Image) parts() (parts, error) {
	hash, size := sha256.New(), &counter{}
	if err := i.writeLayer(io.MultiWriter(hash, size)); err != nil {
		return parts{}, err
	}
	p := parts{layer: descriptor{
		MediaType: layerType, Digest: "sha256:" + hex.EncodeToString(hash.Sum(nil)),
		Size: size.n,
	}}
	arch := i.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	p.config = encode(map[string]any{
		"architecture": arch, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/program"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{p.layer.Digest}},
	})
	p.manifest = encode(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "layers": []descriptor{p.layer},
		"config": descriptor{MediaType: configType, Digest: sum(p.config), Size: int64(len(p.config))},
	})
	return p, nil
}

func (i Image) addLayer(archive *tar.Writer, name string, size int64) error {
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	return i.writeLayer(archive)
}

// writeLayer writes the same bytes each time.
func (i Image) writeLayer(w io.Writer) error {
	layer := tar.NewWriter(w)
	if i.Program != nil {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: "program", Mode: 0o755, Size: int64(len(i.Program))}
		if err := layer.WriteHeader(header); err != nil {
			return fmt.Errorf("adding a program: %w", err)
		}
		if _, err := layer.Write(i.Program); err != nil {
			return fmt.Errorf("adding a program: %w", err)
		}
	}
	if err := layer.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: "random", Mode: 0o644,
		Size: i.Size,
	}); err != nil {
		return fmt.Errorf("adding random bytes: %w", err)
	}
	if _, err := io.CopyN(layer, rand.NewChaCha8(i.Seed), i.Size); err != nil {
		return fmt.Errorf("adding random bytes: %w", err)
	}
	return layer.Close()
}

func add(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Mode: 0o644,
		Size: int64(len(content)),
	}); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	if _, err := io.Copy(archive, bytes.NewReader(content)); err != nil {
		return fmt.Errorf("adding %q: %w", name, err)
	}
	return nil
}

func blob(digest string) string { return "blobs/sha256/" + digest[len("sha256:"):] }

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(digest[:])
}

// encode writes our own maps, which always can be.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
