package assemble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
)

// DefaultRepository is the image's default name; vcluster.yaml has the same default.
const DefaultRepository = "ghcr.io/loft-sh/kubernetes"

const (
	// imageFolder holds everything in the image.
	imageFolder = "kubernetes/"
	// imagePath finds the programs by their names alone.
	imagePath = "PATH=/kubernetes:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	fullTag   = "-full"
	// Programs that look up their user find it here; containers of the control plane set their own user.
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
	group  = "root:x:0:\nnobody:x:65534:\n"
)

// ImageOptions are options of Image; each may be empty.
type ImageOptions struct {
	// Repository is the image's name without a tag. Default DefaultRepository.
	Repository string
	// Bundles make the second image, with the tag <version>-full, which carries them; only tar.gz bundles are taken.
	Bundles []Bundle
	// Uncompressed stores the layer with the programs as it is: for images that only travel over a local disk, where
	// compressing and unpacking cost more than the bytes.
	Uncompressed bool
	// Scratch is a folder for the layers until Close; they are as large as the images. Default: the system's temporary
	// folder.
	Scratch string
}

// Image is the all-in-one image for all architectures, plain and, where there are bundles, full. The two share the
// layer with the control plane's programs. Close removes its layers from disk.
type Image struct {
	repository name.Repository
	tags       []taggedIndex
	scratch    string
}

type taggedIndex struct {
	tag   string
	index v1.ImageIndex
}

// Reference is one of the image's names, and the digest of the index that it stands for.
type Reference struct {
	// Name with its tag.
	Name string
	// Digest like "sha256:9f2c…".
	Digest string
}

// Image makes the image out of the control plane's programs: all beneath /kubernetes, mode 0755, owned by root.
func (a *Assembly) Image(ctx context.Context, options ImageOptions) (*Image, error) {
	if options.Repository == "" {
		options.Repository = DefaultRepository
	}
	repository, err := name.NewRepository(options.Repository)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading image name %q: %w", options.Repository, err)
	}
	scratch, err := os.MkdirTemp(options.Scratch, "image-*")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the layers: %w", err)
	}
	image := &Image{repository: repository, scratch: scratch}
	if err := image.build(ctx, a, options); err != nil {
		return nil, errors.Join(fmt.Errorf("building image %q: %w", repository.Name()+":"+a.Version, err),
			image.Close())
	}
	return image, nil
}

// References returns the image's names and digests, the plain one first.
func (i *Image) References() ([]Reference, error) {
	var references []Reference
	for _, tagged := range i.tags {
		digest, err := tagged.index.Digest()
		if err != nil {
			return nil, fmt.Errorf("reading the digest of tag %q: %w", tagged.tag, err)
		}
		references = append(references, Reference{Name: i.repository.Tag(tagged.tag).Name(), Digest: digest.String()})
	}
	return references, nil
}

// Close removes the layers; the image can't be written any more.
func (i *Image) Close() error {
	if err := os.RemoveAll(i.scratch); err != nil {
		return fmt.Errorf("removing the layers: %w", err)
	}
	return nil
}

func (i *Image) build(ctx context.Context, a *Assembly, options ImageOptions) error {
	programs := map[string]v1.Layer{}
	for _, arch := range a.Arches {
		layer, err := i.programLayer(ctx, a, arch, options.Uncompressed)
		if err != nil {
			return err
		}
		programs[arch] = layer
	}
	plain, err := a.index(func(arch string) []v1.Layer { return []v1.Layer{programs[arch]} })
	if err != nil {
		return err
	}
	i.tags = []taggedIndex{{a.Version, plain}}
	if len(options.Bundles) == 0 {
		return nil
	}
	bundles, err := i.bundleLayer(ctx, options.Bundles)
	if err != nil {
		return err
	}
	full, err := a.index(func(arch string) []v1.Layer { return []v1.Layer{programs[arch], bundles} })
	if err != nil {
		return err
	}
	i.tags = append(i.tags, taggedIndex{a.Version + fullTag, full})
	return nil
}

func (i *Image) programLayer(ctx context.Context, a *Assembly, arch string, uncompressed bool) (v1.Layer, error) {
	files, err := a.of(arch, ControlPlane)
	if err != nil {
		return nil, err
	}
	entries := []entry{
		{name: "tmp", sticky: true},
		{name: "etc/passwd", mode: 0o644, text: passwd},
		{name: "etc/group", mode: 0o644, text: group},
	}
	for _, f := range files {
		entries = append(entries, entry{name: imageFolder + f.path, mode: f.mode(), source: f.source})
	}
	level := gzip.DefaultCompression
	if uncompressed {
		level = gzip.NoCompression
	}
	return writeLayer(ctx, filepath.Join(i.scratch, "programs-"+arch), entries, level)
}

// bundleLayer is the same for all architectures: a control plane of one serves machines of all. Bundles are compressed
// already.
func (i *Image) bundleLayer(ctx context.Context, bundles []Bundle) (v1.Layer, error) {
	var taken []Bundle
	var entries []entry
	for _, b := range bundles {
		if b.Format == bundle.TarGzip {
			taken = append(taken, b)
			entries = append(entries, entry{name: imageFolder + b.Name, mode: 0o644, source: b.Path})
		}
	}
	if len(taken) == 0 {
		return nil, errclass.With(errclass.Configuration, errors.New("collecting node bundles for the full image: "+
			"none of them is a tar.gz"))
	}
	entries = append(entries, entry{name: imageFolder + bundle.SumsFile, mode: 0o644, text: sumLines(taken)})
	return writeLayer(ctx, filepath.Join(i.scratch, "bundles"), entries, gzip.NoCompression)
}

// index makes one image for each architecture and the index over them.
func (a *Assembly) index(layers func(arch string) []v1.Layer) (v1.ImageIndex, error) {
	index := v1.ImageIndex(empty.Index)
	for _, arch := range a.Arches {
		image, err := a.image(arch, layers(arch))
		if err != nil {
			return nil, fmt.Errorf("describing the image for %s: %w", arch, err)
		}
		platform := &v1.Platform{OS: "linux", Architecture: arch}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: platform},
		})
	}
	return index, nil
}

func (a *Assembly) image(arch string, layers []v1.Layer) (v1.Image, error) {
	created := v1.Time{Time: a.created()}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: created,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Env: []string{imagePath}, WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":   "kubernetes",
				"org.opencontainers.image.version": a.Version,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("setting the configuration: %w", err)
	}
	for _, l := range layers {
		history := v1.History{Created: created, CreatedBy: "argosy bundle build"}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: l, History: history}); err != nil {
			return nil, fmt.Errorf("adding a layer: %w", err)
		}
	}
	return image, nil
}
