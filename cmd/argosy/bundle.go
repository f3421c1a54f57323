package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/bundle/release"
	"argosy.dev/argosy/pkg/errclass"
)

func bundleCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "bundle",
		Short: "Build node bundles and the control plane's image",
	}
	command.AddCommand(bundleBuildCommand())
	return command
}

// bundleBuild has the flags of "bundle build".
type bundleBuild struct {
	kubernetes string
	arches     []string
	output     string
	formats    []string

	fromDirectory string
	components    map[string]string
	mirrors       map[string]string
	cache         string
	parallel      int

	imageArchive string
	imageName    string
	push         string
}

func bundleBuildCommand() *cobra.Command {
	var b bundleBuild
	command := &cobra.Command{
		Use:   "build",
		Short: "Build node bundles, their lists of contents and the control plane's image",
		Long: `Fetches the official releases of Kubernetes, containerd, runc, the CNI plugins, crictl, etcd, kine and
Konnectivity and the pause image, compares each with its published checksum, and writes

  <output>/<version>/kubernetes-<version>-<arch>.tar.gz     the node bundle
  <output>/<version>/kubernetes-<version>-<arch>.spdx.json  what is inside, in SPDX 2.3
  <output>/<version>/SHA256SUMS

and, with --image-archive or --push, the image of the control plane with the tags <version> and
<version>-full. The same inputs give the same bytes. See docs/bundles.md.`,
		Example: `  argosy bundle build --kubernetes v1.37.2 --output bundles
  argosy bundle build --kubernetes v1.37.2 --output bundles --push registry.example.org/kubernetes`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := b.check(command.Flags().Changed); err != nil {
				return program.UsageErrorf("%w", err)
			}
			return b.run(command.Context(), newTerminal(command.OutOrStdout()))
		},
	}
	flags := command.Flags()
	flags.StringVar(&b.kubernetes, "kubernetes", "", "version of Kubernetes, e.g. v1.37.2 (required)")
	flags.StringSliceVar(&b.arches, "arch", []string{"amd64", "arm64"}, "architectures")
	flags.StringVarP(&b.output, "output", "o", "", "folder to write into (required)")
	flags.StringSliceVar(&b.formats, "format", []string{string(bundle.TarGzip)},
		"formats of the bundles: tar.gz, tar.zst")
	flags.StringVar(&b.fromDirectory, "from-directory", "",
		"take binaries from this folder, <arch>/kubelet and so on, and fetch nothing")
	flags.StringToStringVar(&b.components, "component", nil,
		"another version of a component than the usual one: containerd=2.1.5")
	flags.StringToStringVar(&b.mirrors, "mirror", nil, "server to use for an official one: "+
		"dl.k8s.io=https://mirror.example.org/k8s; also github.com, registry.k8s.io")
	flags.StringVar(&b.cache, "cache", defaultCache(), "folder that keeps downloads, and layers while they are made")
	flags.IntVar(&b.parallel, "parallel", 4, "downloads at once")
	flags.StringVar(&b.imageArchive, "image-archive", "", "file to write the image into, as an OCI archive")
	flags.StringVar(&b.imageName, "image-name", assemble.DefaultRepository, "the image's name in the archive")
	flags.StringVar(&b.push, "push", "", "repository to push the image to: registry.example.org/kubernetes")
	return command
}

// check returns an error for flags that are missing or exclude each other.
func (b bundleBuild) check(given func(flag string) bool) error {
	switch {
	case b.kubernetes == "":
		return errors.New("flag --kubernetes is required, e.g. --kubernetes v1.37.2")
	case b.output == "":
		return errors.New("flag --output is required: the folder to write bundles into")
	case b.push != "" && given("image-name"):
		return errors.New("flag --image-name excludes --push, which names the image")
	case b.fromDirectory != "" && (given("component") || given("mirror")):
		return errors.New("flag --from-directory excludes --component and --mirror: nothing is fetched")
	case given("image-name") && b.imageArchive == "":
		return errors.New("flag --image-name needs --image-archive")
	}
	return nil
}

// defaultCache returns a folder in the user's cache.
func defaultCache() string {
	folder, err := os.UserCacheDir()
	if err != nil { // no home, as in a container
		folder = os.TempDir()
	}
	return filepath.Join(folder, "argosy")
}

func (b bundleBuild) run(ctx context.Context, terminal *terminal) error {
	created, err := sourceDate()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return errclass.Errorf(errclass.Configuration, "making the cache: %w", err)
	}
	assembly, done, err := b.assembly(ctx, terminal)
	if err != nil {
		return err
	}
	defer done()
	assembly.Created = created
	var formats []bundle.Format
	for _, format := range b.formats {
		formats = append(formats, bundle.Format(format))
	}
	bundles, err := assembly.WriteBundles(ctx, b.output, formats...)
	if err != nil {
		return err
	}
	for _, written := range bundles {
		terminal.printf("%s  sha256:%s  %d MB", written.Path, written.SHA256, written.Size/1e6)
	}
	if !b.wantsImage() {
		return nil
	}
	return b.image(ctx, assembly, bundles, terminal)
}

func (b bundleBuild) wantsImage() bool { return b.imageArchive != "" || b.push != "" }

// assembly returns the binaries to assemble. done removes their temporary folder.
func (b bundleBuild) assembly(ctx context.Context, terminal *terminal) (assembly *assemble.Assembly, done func(),
	err error,
) {
	if b.fromDirectory != "" {
		assembly, err = assemble.FromDirectory(b.fromDirectory, b.kubernetes, b.arches...)
		return assembly, func() {}, err
	}
	// In the cache, so that files can be links into it.
	dir, err := os.MkdirTemp(b.cache, "binaries-*")
	if err != nil {
		return nil, nil, fmt.Errorf("making a folder for the binaries: %w", err)
	}
	done = func() { _ = os.RemoveAll(dir) }
	assembly, err = b.fetch(ctx, dir, terminal)
	if err != nil {
		done()
		return nil, nil, err
	}
	return assembly, done, nil
}

func (b bundleBuild) fetch(ctx context.Context, dir string, terminal *terminal) (*assemble.Assembly, error) {
	parts := []assemble.Part{assemble.Node}
	if b.wantsImage() {
		parts = append(parts, assemble.ControlPlane)
	}
	components, err := release.Fetch(ctx, release.Plan{
		Kubernetes: b.kubernetes, Arches: b.arches, Parts: parts,
		Versions: b.components, Mirrors: b.mirrors, Cache: b.cache, Parallel: b.parallel,
		Report: func(line string) { terminal.printf("%s", line) },
	}, dir)
	if err != nil {
		return nil, err
	}
	assembly, err := assemble.FromDirectory(dir, b.kubernetes, b.arches...)
	if err != nil {
		return nil, err
	}
	assembly.Components = components
	return assembly, nil
}

func (b bundleBuild) image(ctx context.Context, assembly *assemble.Assembly, bundles []assemble.Bundle,
	terminal *terminal,
) (err error) {
	repository := b.imageName
	if b.push != "" {
		// The tag of the version is added anyway, so it may be given.
		repository = strings.TrimSuffix(b.push, ":"+b.kubernetes)
	}
	image, err := assembly.Image(ctx, assemble.ImageOptions{Repository: repository, Bundles: bundles, Scratch: b.cache})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if b.imageArchive != "" {
		if err := image.WriteArchive(ctx, b.imageArchive); err != nil {
			return err
		}
		terminal.printf("wrote %s", b.imageArchive)
	}
	if b.push != "" {
		terminal.printf("pushing to %s", repository)
		if err := image.Push(ctx); err != nil {
			return err
		}
	}
	references, err := image.References()
	if err != nil {
		return err
	}
	for _, reference := range references {
		terminal.printf("%s@%s", reference.Name, reference.Digest)
	}
	return nil
}

// printf prints a line that is about no machine, with the time since the start.
func (t *terminal) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.out, fmt.Sprintf("%6.1fs  ", time.Since(t.started).Seconds())+fmt.Sprintf(format,
		args...)+"\n")
}

// sourceDate returns the time to write into builds, see https://reproducible-builds.org/specs/source-date-epoch.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, errclass.Errorf(errclass.Configuration,
			"reading SOURCE_DATE_EPOCH %q: not a number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
