package release

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"argosy.dev/argosy/pkg/errclass"
)

// unpack takes the files of take out of a tar.gz whose digest was compared. place returns the path for each value of
// take.
func unpack(archive string, take map[string]string, place func(string) string) error {
	file, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("opening %q: %w", archive, err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	missing, err := extract(plain, take, place)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return errclass.Errorf(errclass.Permanent, "unpacking it: the archive has no %s", strings.Join(missing, ", "))
	}
	return nil
}

// extract writes the files that it finds in a tar and returns the names, sorted, of the others.
func extract(archive io.Reader, take map[string]string, place func(string) string) (missing []string, err error) {
	left := maps.Clone(take)
	entries := tar.NewReader(archive)
	for len(left) > 0 {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		to, wanted := left[name]
		if !wanted || header.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(place(to), entries); err != nil {
			return nil, err
		}
		delete(left, name)
	}
	return slices.Sorted(maps.Keys(left)), nil
}

// write writes a new file from r.
func write(name string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("making the folder of %q: %w", name, err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	defer file.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{file}, struct{ io.Reader }{r}, make([]byte, block)); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}
