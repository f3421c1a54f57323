package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/errclass"
)

// pull resolves an image's tag for the architecture. All further content is named by digest and compared with it.
func (f *fetcher) pull(ctx context.Context, w wanted, component *assemble.Component) (v1.Image, error) {
	at, plain := f.mirrors.image(w.image)
	var options []name.Option
	if plain {
		options = append(options, name.Insecure)
	}
	reference, err := name.ParseReference(at, options...)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading image reference %q: %w", at, err)
	}
	image, err := remote.Image(reference,
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: w.arch}),
	)
	if err != nil {
		return nil, pulling(ctx, at, err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, pulling(ctx, at, err)
	}
	if config.Architecture != w.arch {
		return nil, errclass.Errorf(errclass.Configuration, "pulling image %q: it is for %s alone", at,
			config.Architecture)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, pulling(ctx, at, err)
	}
	component.SHA256 = digest.Hex
	component.Location, err = manifestURL(w.image, digest)
	return image, err
}

func pulling(ctx context.Context, reference string, err error) error {
	class := assemble.RegistryClass(ctx, err)
	if strings.Contains(err.Error(), "no child with platform") {
		class = errclass.Configuration
	}
	return errclass.Errorf(class, "pulling image %q: %w", reference, err)
}

// manifestURL returns the address of the image in the official registry, also if it came from a mirror.
func manifestURL(official string, digest v1.Hash) (string, error) {
	reference, err := name.ParseReference(official)
	if err != nil {
		return "", errclass.Errorf(errclass.Configuration, "reading image reference %q: %w", official, err)
	}
	repository := reference.Context()
	return "https://" + repository.RegistryStr() + "/v2/" + repository.RepositoryStr() + "/manifests/" +
		digest.String(), nil
}

// fromImage takes programs out of an image's layers.
func (f *fetcher) fromImage(ctx context.Context, w wanted, component *assemble.Component) error {
	image, err := f.pull(ctx, w, component)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return pulling(ctx, w.image, err)
	}
	left := w.take
	// Files of a later layer hide those of an earlier one.
	for _, layer := range slices.Backward(layers) {
		missing, err := f.fromLayer(ctx, w, layer, left)
		if err != nil {
			return err
		}
		rest := map[string]string{}
		for _, from := range missing {
			rest[from] = left[from]
		}
		left = rest
	}
	if len(left) > 0 {
		return errclass.Errorf(errclass.Permanent, "unpacking image %q: it has not all of %s", w.image,
			strings.Join(w.files(), ", "))
	}
	return nil
}

// fromLayer takes the files of take that the layer has, and returns the others.
func (f *fetcher) fromLayer(ctx context.Context, w wanted, layer v1.Layer, take map[string]string) ([]string, error) {
	digest, err := layer.Digest()
	if err != nil {
		return nil, pulling(ctx, w.image, err)
	}
	kept, err := f.cache.file(ctx, w.String(), digest.Hex,
		func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return openLayer(ctx, w, layer, offset)
		})
	if err != nil {
		return nil, err
	}
	local, err := tarball.LayerFromFile(kept)
	if err != nil {
		return nil, fmt.Errorf("reading a layer of image %q: %w", w.image, err)
	}
	plain, err := local.Uncompressed()
	if err != nil {
		return nil, fmt.Errorf("reading a layer of image %q: %w", w.image, err)
	}
	defer func() { _ = plain.Close() }()
	missing, err := extract(plain, take, f.place(w))
	if err != nil {
		return nil, fmt.Errorf("unpacking image %q: %w", w.image, err)
	}
	return missing, nil
}

// openLayer reads a layer from offset on. Registries' clients know no ranges, so the bytes before it are read and
// dropped.
func openLayer(ctx context.Context, w wanted, layer v1.Layer, offset int64) (io.ReadCloser, error) {
	body, err := layer.Compressed()
	if err != nil {
		return nil, pulling(ctx, w.image, err)
	}
	if _, err := io.CopyN(io.Discard, body, offset); err != nil {
		_ = body.Close()
		return nil, pulling(ctx, w.image, err)
	}
	return layerStream{ReadCloser: body, ctx: ctx, image: w.image}, nil
}

// layerStream gives reading errors their class.
type layerStream struct {
	io.ReadCloser
	ctx   context.Context
	image string
}

func (l layerStream) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = pulling(l.ctx, l.image, err)
	}
	return n, err
}

// pauseImage saves the image as an archive that containerd imports, and its name beside it. The name is the official
// one also with a mirror, since containerd looks for it.
func (f *fetcher) pauseImage(ctx context.Context, w wanted, component *assemble.Component) error {
	component.Files = []string{assemble.PauseArchive, assemble.PauseReference}
	tag, err := name.NewTag(w.image)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading image reference %q: %w", w.image, err)
	}
	archive := f.place(w)(assemble.PauseArchive)
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		return fmt.Errorf("making the folder of %q: %w", archive, err)
	}
	err = retrying(ctx, f.progress.saying(w.String()), func(ctx context.Context) (int64, error) {
		image, err := f.pull(ctx, w, component)
		if err != nil {
			return 0, err
		}
		if err := tarball.WriteToFile(archive, tag, image); err != nil {
			return 0, pulling(ctx, w.image, err)
		}
		return 0, nil
	})
	if err != nil {
		return err
	}
	component.PURL = "pkg:oci/pause@sha256%3A" + component.SHA256 + "?repository_url=registry.k8s.io/pause&tag=" +
		w.number
	if err := os.WriteFile(f.place(w)(assemble.PauseReference), []byte(w.image+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the name of the pause image: %w", err)
	}
	return nil
}
