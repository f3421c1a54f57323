package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/bundle/assemble"
)

// ControlPlaneImage makes sure that clusters of a Kubernetes version can be
// provisioned, and returns the reference of the plain all-in-one image,
// "ghcr.io/loft-sh/kubernetes:v1.34.4". The host machine and the registry have
// it and the one with the tag "v1.34.4-full", and the registry has the addons'
// images. Up does it for Version; another version may have to be built first.
func (l *Lab) ControlPlaneImage(ctx context.Context, version string) (string, error) {
	images, err := l.hostedImages(ctx, version, UpOptions{})
	if err != nil {
		return "", err
	}
	return assemble.DefaultRepository + ":" + version, l.provideImages(ctx, version, images)
}

// hostedImages are the archives that provisioned clusters of a version need.
type hostedImages struct {
	ControlPlane string
	// Addons are by reference.
	Addons map[string]string
}

func (h hostedImages) paths() []string {
	return append(slices.Sorted(maps.Values(h.Addons)), h.ControlPlane)
}

// ofHost are the archives of images that the host machine's own pods run; another
// version than the host cluster's may have others.
func (h hostedImages) ofHost() []string {
	var archives []string
	own := storageImagesOf()
	for _, image := range []string{dnsImage, own.Provisioner, own.Helper} {
		if archive := h.Addons[image]; archive != "" {
			archives = append(archives, archive)
		}
	}
	return archives
}

func (l *Lab) hostedImages(ctx context.Context, version string, options UpOptions) (hostedImages, error) {
	name := "hosted-" + version
	if options.HostedOnly {
		name += "-only"
	}
	return cached(ctx, l, name, hostedImages.paths,
		func() (hostedImages, error) { return l.makeHostedImages(ctx, version, options) })
}

func (l *Lab) makeHostedImages(ctx context.Context, version string, options UpOptions) (hostedImages, error) {
	builder, err := l.builder()
	if err != nil {
		return hostedImages{}, err
	}
	archives, err := builder.AddonImages(ctx, version, !options.HostedOnly)
	if err != nil {
		return hostedImages{}, fmt.Errorf("making the addons' images of %s: %w", version, err)
	}
	images := hostedImages{Addons: map[string]string{}}
	for _, archive := range archives {
		ref, err := archiveReference(archive)
		if err != nil {
			return hostedImages{}, err
		}
		images.Addons[ref] = archive
	}
	images.ControlPlane, err = l.controlPlaneArchive(ctx, version)
	return images, err
}

// provideImages publishes all images, and gives the host machine those that its
// own pods run.
func (l *Lab) provideImages(ctx context.Context, version string, images hostedImages) error {
	host, err := l.Spec("host")
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for _, archive := range images.paths() {
			if _, err := l.Publish(ctx, archive); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		if err := l.loadImages(ctx, host, append(images.ofHost(), images.ControlPlane)); err != nil {
			return err
		}
		return l.aliasControlPlane(ctx, version)
	})
	return group.Wait()
}

// aliasControlPlane gives the images on the host machine their names in the
// lab's registry too, so that nothing is pulled whichever name a cluster uses.
func (l *Lab) aliasControlPlane(ctx context.Context, version string) error {
	for _, tag := range []string{version, version + "-full"} {
		ref := assemble.DefaultRepository + ":" + tag
		target, err := inRegistry(ref)
		if err != nil {
			return err
		}
		if _, err := l.Exec(ctx, "host", "ctr", "--namespace", "k8s.io", "images", "tag", "--force", ref,
			target.String()); err != nil {
			return fmt.Errorf("naming image %q on the host machine: %w", target, err)
		}
	}
	return nil
}

// controlPlaneArchive makes the archive with both images of a version, or finds
// it in the cache, under a name that holds a digest of all its inputs.
func (l *Lab) controlPlaneArchive(ctx context.Context, version string) (string, error) {
	builder, err := l.builder()
	if err != nil {
		return "", err
	}
	binaries, err := builder.ReleaseFolder(ctx, version)
	if err != nil {
		return "", fmt.Errorf("building the binaries of %s: %w", version, err)
	}
	key, err := l.assemblyKey(binaries)
	if err != nil {
		return "", err
	}
	unlock, err := l.lock("control-plane-" + version)
	if err != nil {
		return "", err
	}
	defer unlock()
	archive := filepath.Join(builder.Cache, "control-plane", version+"-"+key, "kubernetes.tar")
	if exists(archive) {
		return archive, nil
	}
	l.logf("making the control plane images of %s", version)
	if err := assembleImages(ctx, binaries, version, archive); err != nil {
		return "", fmt.Errorf("making the control plane images of %s: %w", version, err)
	}
	return archive, nil
}

// assembleImages puts the images into the archive by the code that users put
// theirs together with.
func assembleImages(ctx context.Context, binaries, version, archive string) (err error) {
	assembly, err := assemble.FromDirectory(binaries, version, runtime.GOARCH)
	if err != nil {
		return err
	}
	scratch := filepath.Dir(archive) + ".partial"
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", scratch, err)
	}
	defer os.RemoveAll(scratch)
	bundles, err := assembly.WriteBundles(ctx, scratch)
	if err != nil {
		return err
	}
	image, err := assembly.Image(ctx, assemble.ImageOptions{Bundles: bundles, Uncompressed: true, Scratch: scratch})
	if err != nil {
		return err
	}
	defer image.Close()
	if err := os.MkdirAll(filepath.Dir(archive), 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", filepath.Dir(archive), err)
	}
	return image.WriteArchive(ctx, archive)
}

// assemblyKey digests the inputs of the images: the binaries, whose folder is named by its content, and the code that
// packs them.
func (l *Lab) assemblyKey(binaries string) (string, error) {
	sources, err := filepath.Glob(filepath.Join(l.source, "pkg", "bundle", "assemble", "*.go"))
	if err != nil || len(sources) == 0 {
		return "", fmt.Errorf("looking for the code that makes images in %q: there is none", l.source)
	}
	slices.Sort(sources)
	sum := sha256.New()
	fmt.Fprintln(sum, binaries)
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			return "", fmt.Errorf("reading the code that makes images: %w", err)
		}
		fmt.Fprintf(sum, "%d\n", len(text))
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}
