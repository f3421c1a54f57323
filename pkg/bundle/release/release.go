// Package release fetches the official releases of Kubernetes and the other components, and lays them out as a
// directory of binaries for pkg/bundle/assemble. Every file is compared with its project's published checksum before
// anything is taken from it; a file without one is refused. It never executes the files.
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
	"sync"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/pkg/bundle/assemble"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/errclass"
)

// defaultParallel is the default of Plan.Parallel.
const defaultParallel = 4

// Plan selects the components to fetch.
type Plan struct {
	// Kubernetes is the version, like "v1.34.4".
	Kubernetes string
	// Arches are Go's names: amd64, arm64.
	Arches []string
	// Parts to fetch the binaries of.
	Parts []assemble.Part
	// Versions override those that go with the Kubernetes version, by component.
	Versions map[string]string
	// Mirrors stand for the official servers.
	Mirrors Mirrors
	// Cache is a folder that keeps downloads under their digests, whole and begun ones. Several builds may share it.
	Cache string
	// Parallel bounds the components that are fetched at once. Default 4.
	Parallel int
	// Report is given a line at each event, by one goroutine at a time. May be nil.
	Report func(line string)
}

// wanted is a component to fetch for one architecture.
type wanted struct {
	published
	arch, number string
}

// String names it in messages.
func (w wanted) String() string { return w.name + " " + w.version() + " for " + w.arch }

// version as its project writes it: the pause image has no "v".
func (w wanted) version() string {
	if w.component == components.Pause {
		return w.number
	}
	return "v" + w.number
}

// Fetch lays the binaries out beneath dir, which must exist and be empty, as assemble.FromDirectory reads it, and
// returns where each came from, in an order that is always the same. Files may be hard links into the cache: they must
// not be changed in place. After an error, finished downloads stay in the cache, and the next Fetch uses them.
func Fetch(ctx context.Context, plan Plan, dir string) ([]assemble.Component, error) {
	list, err := plan.list()
	if err != nil {
		return nil, err
	}
	return plan.fetch(ctx, list, dir)
}

// FetchPrograms lays programs out beneath dir, which must exist and be empty, as Fetch does: those of the components
// that the catalogue has under these names, all of one version, without a "v". Of the plan it takes the only
// architecture, mirrors, cache, limit and report.
func FetchPrograms(ctx context.Context, plan Plan, names []string, number, dir string) error {
	if err := errors.Join(plan.Mirrors.check(), checkArches(plan.Arches)); err != nil {
		return errclass.With(errclass.Configuration, err)
	}
	arch := plan.Arches[0]
	var list []wanted
	for _, name := range names {
		i := slices.IndexFunc(catalogue, func(p published) bool { return p.name == name })
		if i < 0 {
			return errclass.Errorf(errclass.Configuration, "choosing a release: %q is not in the catalogue", name)
		}
		list = append(list, wanted{catalogue[i].at(number, arch), arch, number})
	}
	_, err := plan.fetch(ctx, list, dir)
	return err
}

// fetch fetches the components of a list.
func (p Plan) fetch(ctx context.Context, list []wanted, dir string) ([]assemble.Component, error) {
	if p.Parallel <= 0 {
		p.Parallel = defaultParallel
	}
	progress := startProgress(ctx, len(list), p.Report)
	defer progress.stop()
	f := &fetcher{
		mirrors: p.Mirrors, dir: dir, progress: progress,
		cache: cache{dir: p.Cache, progress: progress},
	}
	fetched := make([]assemble.Component, len(list))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.Parallel)
	for i, w := range list {
		group.Go(func() error {
			component, err := f.fetch(ctx, w)
			if err != nil {
				return fmt.Errorf("fetching %s: %w", w, err)
			}
			fetched[i] = component
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return fetched, nil
}

// list returns the components to fetch. Every mistake in the plan is found here, before anything is fetched.
func (p Plan) list() ([]wanted, error) {
	numbers, err := components.Versions(p.Kubernetes, p.Versions)
	if err := errors.Join(err, p.Mirrors.check(), checkArches(p.Arches)); err != nil {
		return nil, errclass.With(errclass.Configuration, err)
	}
	var list []wanted
	for _, arch := range slices.Compact(slices.Sorted(slices.Values(p.Arches))) {
		for _, item := range catalogue {
			if slices.Contains(p.Parts, item.part) {
				number := numbers[item.component]
				list = append(list, wanted{published: item.at(number, arch), arch: arch, number: number})
			}
		}
	}
	return list, nil
}

// checkArches accepts the architectures that all projects publish for and that argosy-node is built for.
func checkArches(arches []string) error {
	known := []string{"amd64", "arm64"}
	if len(arches) == 0 {
		return errors.New("choosing architectures: none is given")
	}
	for _, arch := range arches {
		if !slices.Contains(known, arch) {
			return fmt.Errorf("choosing architectures: %q is none of %s", arch, strings.Join(known, ", "))
		}
	}
	return nil
}

// fetcher fetches the components of a plan.
type fetcher struct {
	mirrors  Mirrors
	dir      string
	client   fetch.Client
	cache    cache
	progress *progress

	// sums keeps checksum files by address: some hold those of many files.
	sums sync.Map
}

func (f *fetcher) fetch(ctx context.Context, w wanted) (assemble.Component, error) {
	component := assemble.Component{
		Name: w.name, Arch: w.arch, Version: w.version(), PURL: w.purl, Location: w.url, Files: w.files(),
	}
	var err error
	switch {
	case w.component == components.Pause:
		err = f.pauseImage(ctx, w, &component)
	case w.image != "":
		err = f.fromImage(ctx, w, &component)
	default:
		component.SHA256, err = f.fromServer(ctx, w)
	}
	if err != nil {
		return assemble.Component{}, err
	}
	f.progress.finished(w.String())
	return component, nil
}

// fromServer fetches a program, or files of an archive, and returns the digest of the published file.
func (f *fetcher) fromServer(ctx context.Context, w wanted) (string, error) {
	digest, err := f.checksum(ctx, w)
	if err != nil {
		return "", err
	}
	address, err := f.mirrors.address(w.url)
	if err != nil {
		return "", err
	}
	kept, err := f.cache.file(ctx, w.String(), digest, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		body, err := f.client.Open(ctx, address, offset, 0)
		return body, advise(err)
	})
	if err != nil {
		return "", err
	}
	if w.archive() {
		return digest, unpack(kept, w.take, f.place(w))
	}
	return digest, link(kept, f.place(w)(w.take[""]))
}

// place returns the path of a file of the directory of binaries.
func (f *fetcher) place(w wanted) func(name string) string {
	return func(name string) string { return filepath.Join(f.dir, w.arch, filepath.FromSlash(name)) }
}

// link makes kept appear at path without copying it, if both are on one file system.
func link(kept, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making the folder of %q: %w", path, err)
	}
	if os.Link(kept, path) == nil {
		return nil
	}
	source, err := os.Open(kept)
	if err != nil {
		return fmt.Errorf("opening %q: %w", kept, err)
	}
	defer source.Close()
	return write(path, source)
}

// advise adds the likely causes to the error of a missing file.
func advise(err error) error {
	var status *fetch.StatusError
	if errors.As(err, &status) && status.Missing() {
		return fmt.Errorf("%w; was this version published for this architecture, and does the mirror, if there is "+
			"one, carry it?", err)
	}
	return err
}
