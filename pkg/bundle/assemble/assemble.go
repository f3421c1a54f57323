// Package assemble turns a directory of binaries into the files that Argosy installs from: node bundles with SHA256SUMS
// and a list of contents, and the image of the control plane. The same binaries always give the same bytes, with any
// times and modes on disk. It never downloads anything (pkg/bundle/release does) and never executes the binaries.
package assemble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
)

// Assembly is a set of binaries for one Kubernetes version and one or more architectures. Its methods may be called in
// any order and any number of times, but not at the same time.
type Assembly struct {
	// Version of Kubernetes, like "v1.37.2".
	Version string
	// Arches are Go's names of the architectures, sorted.
	Arches []string
	// Components are the sources of the binaries, for the list of contents; may be empty.
	Components []Component
	// Created is the time in the list of contents and in the images. The zero Time is 1970-01-01, so that builds are
	// the same on every day.
	Created time.Time

	dir   string
	files map[string][]file // by architecture, sorted by path
}

// Component is a published archive, program or image that binaries were taken from.
type Component struct {
	// Name like "containerd", Arch like "amd64", Version like "v2.1.4".
	Name, Arch, Version string
	// Location is the URL it is published at.
	Location string
	// SHA256 of the content at Location, hex.
	SHA256 string
	// PURL names the project's release as a package URL, "pkg:github/containerd/containerd@v2.1.4"; may be empty.
	PURL string
	// Files taken from it, as paths beneath the architecture's folder.
	Files []string
}

// file is one file of the directory.
type file struct {
	content
	// source is its path on disk.
	source string
}

var wellFormedVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// FromDirectory reads a directory of binaries: <dir>/<arch>/kubelet and so on, as docs/bundles.md lists them. Without
// arches it takes each architecture that has a folder. Programs are checked to be for their architecture. A missing one
// is an error only when it is needed, so that a directory without a control plane still gives node bundles.
func FromDirectory(dir, version string, arches ...string) (*Assembly, error) {
	if !wellFormedVersion.MatchString(version) {
		return nil, errclass.Errorf(errclass.Configuration, "reading Kubernetes version %q: it is not like v1.37.2",
			version)
	}
	if len(arches) == 0 {
		var err error
		if arches, err = archesIn(dir); err != nil {
			return nil, err
		}
	}
	a := &Assembly{
		Version: version, Arches: slices.Compact(slices.Sorted(slices.Values(arches))), dir: dir,
		files: map[string][]file{},
	}
	for _, arch := range a.Arches {
		files, err := filesIn(filepath.Join(dir, arch))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := checkProgram(f, arch); err != nil {
				return nil, err
			}
		}
		a.files[arch] = files
	}
	return a, nil
}

// archesIn lists the folders of a directory of binaries.
func archesIn(dir string) ([]string, error) {
	var arches []string
	for _, arch := range []string{"amd64", "arm64"} {
		if info, err := os.Stat(filepath.Join(dir, arch)); err == nil && info.IsDir() {
			arches = append(arches, arch)
		}
	}
	if len(arches) == 0 {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading directory of binaries %q: it has neither a folder amd64 nor arm64", dir)
	}
	return arches, nil
}

// filesIn returns the files of the layout, and every CNI plugin.
func filesIn(folder string) ([]file, error) {
	info, err := os.Stat(folder)
	if err != nil || !info.IsDir() {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading directory of binaries: there is no folder %q; make it, or leave the architecture out", folder)
	}
	wanted := slices.Clone(layout)
	plugins, err := os.ReadDir(filepath.Join(folder, pluginFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading folder %q: %w", filepath.Join(folder, pluginFolder), err)
	}
	for _, plugin := range plugins {
		further := content{path: pluginFolder + "/" + plugin.Name(), part: Node, program: true}
		if !slices.ContainsFunc(wanted, func(c content) bool { return c.path == further.path }) {
			wanted = append(wanted, further)
		}
	}
	var files []file
	for _, c := range wanted {
		source := filepath.Join(folder, filepath.FromSlash(c.path))
		info, err := os.Stat(source)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("reading directory of binaries: %w", err)
		case !info.Mode().IsRegular() || info.Size() == 0:
			return nil, errclass.Errorf(errclass.Configuration, "reading directory of binaries: %q is empty or no file",
				source)
		}
		files = append(files, file{content: c, source: source})
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return files, nil
}

// checkProgram refuses a program that would only fail on the machine.
func checkProgram(f file, arch string) error {
	if !f.program {
		return nil
	}
	got, err := bundle.MachineOf(f.source)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "checking program %q: %w", f.source, err)
	}
	if got != arch {
		return errclass.Errorf(errclass.Configuration, "checking program %q: it is for %s and lies in the folder of %s",
			f.source, got, arch)
	}
	return nil
}

// created returns the time to write into all outputs.
func (a *Assembly) created() time.Time {
	if a.Created.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return a.Created.UTC().Truncate(time.Second)
}
