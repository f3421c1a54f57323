package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// entry is one file of an archive: with content, or a link to another name.
type entry struct {
	name    string
	mode    int64
	content []byte
	link    string
}

// tarOf writes entries sorted by name, with the release's time and root as their owner.
func (r Release) tarOf(entries []entry) ([]byte, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for _, e := range entries {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content)), ModTime: r.Created,
			Linkname: e.link,
		}
		if e.link != "" {
			header.Typeflag = tar.TypeSymlink
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("adding %q to an archive: %w", e.name, err)
		}
		if _, err := writer.Write(e.content); err != nil {
			return nil, fmt.Errorf("adding %q to an archive: %w", e.name, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("ending an archive: %w", err)
	}
	return archive.Bytes(), nil
}

// gzipped is tarOf, compressed. The compressed stream has neither a name nor a time.
func (r Release) gzipped(entries []entry) ([]byte, error) {
	archive, err := r.tarOf(entries)
	if err != nil {
		return nil, err
	}
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	if _, err := writer.Write(archive); err != nil {
		return nil, fmt.Errorf("compressing an archive: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("compressing an archive: %w", err)
	}
	return compressed.Bytes(), nil
}

// read returns the files beneath a folder that wanted accepts, under the prefix. Modes on the disk do not count.
func read(folder, prefix string, wanted func(name string) bool) ([]entry, error) {
	var entries []entry
	err := filepath.WalkDir(folder, func(file string, found fs.DirEntry, err error) error {
		if err != nil || !found.Type().IsRegular() {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(file, folder+string(filepath.Separator)))
		if !wanted(name) {
			return nil
		}
		content, err := os.ReadFile(file)
		entries = append(entries, entry{name: path.Join(prefix, name), mode: 0o644, content: content})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading folder %q: %w", folder, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("reading folder %q: it has none of the files that a release needs", folder)
	}
	return entries, nil
}

// platforms are those of the command line program; the image has the ones of linux.
var platforms = []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"}

// archives are those of the command line program, which is also found as a plugin of kubectl.
func (r Release) archives(*Made) (map[string][]byte, error) {
	license, err := os.ReadFile(filepath.Join(r.Checkout, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("reading the license: %w", err)
	}
	files := map[string][]byte{}
	for _, platform := range platforms {
		program, err := os.ReadFile(r.program(platform, "argosy"))
		if err != nil {
			return nil, fmt.Errorf("reading the program for %q: %w", platform, err)
		}
		name := fmt.Sprintf("argosy_%s_%s.tar.gz", r.Version, strings.ReplaceAll(platform, "-", "_"))
		files[name], err = r.gzipped([]entry{
			{name: "argosy", mode: 0o755, content: program},
			{name: "kubectl-argosy", mode: 0o777, link: "argosy"},
			{name: "LICENSE", mode: 0o644, content: license},
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
