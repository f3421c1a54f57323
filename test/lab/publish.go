package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// inRegistry is where the lab's registry has an image: under its own name
// without the registry that it comes from.
func inRegistry(ref string) (name.Tag, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return name.Tag{}, fmt.Errorf("reading image reference %q: %w", ref, err)
	}
	path := strings.TrimPrefix(tag.RepositoryStr(), "/")
	mirrored, err := name.NewTag(RegistryAddress+"/"+path+":"+tag.TagStr(), name.Insecure)
	if err != nil {
		return name.Tag{}, fmt.Errorf("naming image %q in the lab's registry: %w", ref, err)
	}
	return mirrored, nil
}

// Publish pushes the images of an archive to the lab's registry, unless it is there, and returns the references that it
// has there. The archive is one of "docker save" with one image, or an OCI layout with any number of names. Archives
// are named by their content: one that was published once is not read again.
func (l *Lab) Publish(ctx context.Context, archive string) (refs []string, err error) {
	note := l.publishedNote(archive)
	if refs := l.readPublished(ctx, note); len(refs) > 0 {
		return refs, nil
	}
	layout, err := isLayout(archive)
	if err != nil {
		return nil, err
	}
	var done []published
	if layout {
		done, err = l.publishLayout(ctx, archive)
	} else {
		done, err = l.publishImage(ctx, archive)
	}
	if err != nil {
		return nil, fmt.Errorf("publishing image archive %q: %w", archive, err)
	}
	for _, p := range done {
		l.logf("image %s published", p.Ref)
		refs = append(refs, p.Ref)
	}
	return refs, writePublished(note, done)
}

// published is a name in the registry and its digest when it was pushed.
type published struct{ Ref, Digest string }

// readPublished returns the names that a note lists, or none unless the registry
// still has every one.
func (l *Lab) readPublished(ctx context.Context, note string) []string {
	text, err := os.ReadFile(note)
	if err != nil {
		return nil
	}
	var known []published
	if json.Unmarshal(text, &known) != nil {
		return nil
	}
	var refs []string
	for _, p := range known {
		if !registryHas(ctx, p) {
			return nil
		}
		refs = append(refs, p.Ref)
	}
	return refs
}

func writePublished(note string, done []published) error {
	text, err := json.Marshal(done)
	if err != nil {
		return fmt.Errorf("encoding what is published: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(note), 0o755); err != nil {
		return fmt.Errorf("making the folder of published images: %w", err)
	}
	if err := os.WriteFile(note, text, 0o644); err != nil {
		return fmt.Errorf("noting what is published: %w", err)
	}
	return nil
}

func registryHas(ctx context.Context, p published) bool {
	tag, err := name.NewTag(p.Ref, name.Insecure)
	if err != nil {
		return false
	}
	there, err := remote.Head(tag, remote.WithContext(ctx))
	return err == nil && there.Digest.String() == p.Digest
}

// publishImage publishes an archive of "docker save".
func (l *Lab) publishImage(ctx context.Context, archive string) ([]published, error) {
	ref, err := archiveReference(archive)
	if err != nil {
		return nil, err
	}
	target, err := inRegistry(ref)
	if err != nil {
		return nil, err
	}
	image, err := plainImage(archive)
	if err != nil {
		return nil, err
	}
	if err := l.push(ctx, target, image); err != nil {
		return nil, fmt.Errorf("pushing %q: %w", target, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("computing the digest of %q: %w", target, err)
	}
	return []published{{target.String(), digest.String()}}, nil
}

func (l *Lab) publishedNote(archive string) string {
	sum := sha256.Sum256([]byte(archive))
	return filepath.Join(l.registryDir(), "published", hex.EncodeToString(sum[:8]))
}

// push writes blobs to the registry's disk, which is this computer's: over HTTP
// the registry would hold each in memory. The manifest goes through the server.
func (l *Lab) push(ctx context.Context, target name.Tag, image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return fmt.Errorf("reading the layers: %w", err)
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return fmt.Errorf("reading a layer's digest: %w", err)
		}
		if err := l.writeBlob(ctx, digest, layer.Compressed); err != nil {
			return err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	digest, err := image.ConfigName()
	if err != nil {
		return fmt.Errorf("reading the configuration's digest: %w", err)
	}
	err = l.writeBlob(ctx, digest, func() (io.ReadCloser,
		error,
	) {
		return io.NopCloser(strings.NewReader(string(config))), nil
	})
	if err != nil {
		return err
	}
	if err := remote.Put(target, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing the manifest: %w", err)
	}
	return nil
}

func (l *Lab) writeBlob(ctx context.Context, digest v1.Hash, open func() (io.ReadCloser, error)) error {
	if _, err := os.Stat(filepath.Join(l.registryDir(), "blobs", digest.Algorithm, digest.Hex)); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for blob %q: %w", digest, err)
	}
	content, err := open()
	if err != nil {
		return fmt.Errorf("opening blob %q: %w", digest, err)
	}
	defer content.Close()
	if err := l.blobs().(registry.BlobPutHandler).Put(ctx, "", digest, content); err != nil {
		return fmt.Errorf("writing blob %q: %w", digest, err)
	}
	return nil
}

// archiveReference is the name that the image in an archive goes by.
func archiveReference(archive string) (string, error) {
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) })
	if err != nil {
		return "", fmt.Errorf("reading image archive %q: %w", archive, err)
	}
	if len(manifest) != 1 || len(manifest[0].RepoTags) != 1 {
		return "", fmt.Errorf("reading image archive %q: it holds not one image with one name", archive)
	}
	return manifest[0].RepoTags[0], nil
}

// plainImage is the image of an archive with its layers as they are in there:
// to compress them would cost seconds here and again on each machine.
func plainImage(archive string) (v1.Image, error) {
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	var plain []mutate.Addendum
	for _, layer := range layers {
		plain = append(plain, mutate.Addendum{Layer: plainLayer{layer}})
	}
	made, err := mutate.Append(empty.Image, plain...)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(made, config)
}

// plainLayer is a layer in uncompressed form.
type plainLayer struct{ layer v1.Layer }

func (p plainLayer) Digest() (v1.Hash, error)             { return p.layer.DiffID() }
func (p plainLayer) DiffID() (v1.Hash, error)             { return p.layer.DiffID() }
func (p plainLayer) Compressed() (io.ReadCloser, error)   { return p.layer.Uncompressed() }
func (p plainLayer) Uncompressed() (io.ReadCloser, error) { return p.layer.Uncompressed() }
func (p plainLayer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }

// Size reads the layer once: an archive does not list it.
func (p plainLayer) Size() (int64, error) {
	content, err := p.layer.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer content.Close()
	return io.Copy(io.Discard, content)
}
