package assemble

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
)

// Bundle is a node bundle that was written.
type Bundle struct {
	// Path of the archive, and its last part: "kubernetes-v1.34.4-amd64.tar.gz".
	Path, Name string
	Arch       string
	Format     bundle.Format
	// SHA256 of the archive, hex; Size in bytes.
	SHA256 string
	Size   int64
}

// WriteBundles writes <output>/<version>/kubernetes-<version>-<arch>.<format> for each architecture, the list of
// contents beside each (kubernetes-<version>-<arch>.spdx.json), and SHA256SUMS. A web server that serves output is a
// bundle repository. Formats are tar.gz unless given. Other architectures' files of an earlier build stay, and stay
// in SHA256SUMS.
func (a *Assembly) WriteBundles(ctx context.Context, output string, formats ...bundle.Format) ([]Bundle, error) {
	if len(formats) == 0 {
		formats = []bundle.Format{bundle.TarGzip}
	}
	for _, format := range formats {
		if _, err := bundle.FormatOf("." + string(format)); err != nil {
			return nil, errclass.Errorf(errclass.Configuration,
				"writing bundles as %q: only tar.gz and tar.zst are known", format)
		}
	}
	nodeFiles := map[string][]file{}
	for _, arch := range a.Arches {
		files, err := a.of(arch, Node)
		if err != nil {
			return nil, err
		}
		nodeFiles[arch] = files
	}
	folder := filepath.Join(output, a.Version)
	bundles := make([]Bundle, len(a.Arches)*len(formats))
	lists := make([]Bundle, len(a.Arches))
	group, ctx := errgroup.WithContext(ctx)
	// Compression takes nearly all of the time, and one processor for each architecture.
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, arch := range a.Arches {
		for j, format := range formats {
			group.Go(func() (err error) {
				bundles[i*len(formats)+j], err = a.writeBundle(ctx, folder, arch, format, nodeFiles[arch])
				return err
			})
		}
		group.Go(func() (err error) {
			lists[i], err = a.writeContents(ctx, folder, arch)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := mergeSums(folder, slices.Concat(lists, bundles)); err != nil {
		return nil, err
	}
	return bundles, nil
}

func (a *Assembly) writeBundle(ctx context.Context, folder, arch string, format bundle.Format, files []file) (Bundle,
	error,
) {
	name := fmt.Sprintf("kubernetes-%s-%s.%s", a.Version, arch, format)
	out, err := create(filepath.Join(folder, name))
	if err != nil {
		return Bundle{}, err
	}
	defer out.discard()
	compressed, err := compress(out, format)
	if err != nil {
		return Bundle{}, fmt.Errorf("writing bundle %q: %w", name, err)
	}
	var entries []entry
	for _, f := range files {
		entries = append(entries, entry{name: "release/" + f.path, mode: f.mode(), source: f.source})
	}
	if err := writeTar(ctx, compressed, "./", entries); err != nil {
		return Bundle{}, fmt.Errorf("writing bundle %q: %w", name, err)
	}
	if err := compressed.Close(); err != nil {
		return Bundle{}, fmt.Errorf("compressing bundle %q: %w", name, err)
	}
	if err := out.commit(); err != nil {
		return Bundle{}, err
	}
	return Bundle{Path: out.path, Name: name, Arch: arch, Format: format, SHA256: out.digest(), Size: out.size}, nil
}

// mergeSums writes SHA256SUMS with a line for each file, and keeps the lines of other files that still lie there.
func mergeSums(folder string, files []Bundle) error {
	path := filepath.Join(folder, bundle.SumsFile)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading digests of an earlier build: %w", err)
	}
	for line := range strings.Lines(string(before)) {
		digest, name, cut := strings.Cut(strings.TrimSpace(line), "  ")
		ours := slices.ContainsFunc(files, func(b Bundle) bool { return b.Name == name })
		if _, err := os.Stat(filepath.Join(folder, name)); cut && !ours && err == nil {
			files = append(files, Bundle{Name: name, SHA256: digest})
		}
	}
	return writeFile(path, []byte(sumLines(files)))
}

// sumLines returns the text of SHA256SUMS, as sha256sum writes it, sorted by name.
func sumLines(files []Bundle) string {
	sorted := slices.SortedFunc(slices.Values(files), func(a, b Bundle) int { return strings.Compare(a.Name, b.Name) })
	var text strings.Builder
	for _, b := range sorted {
		fmt.Fprintf(&text, "%s  %s\n", b.SHA256, b.Name)
	}
	return text.String()
}
