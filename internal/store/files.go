package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"argosy.dev/argosy/internal/atomicfile"
	"argosy.dev/argosy/pkg/errclass"
)

// An archive's name tells its cluster, its time and whether it is a cluster's last: "team-a-20260301T120000Z.tar.zst",
// "team-a-20260301T120000Z-final.tar.zst". A final one is not counted when old ones are removed.
const (
	extension   = ".tar.zst"
	finalSuffix = "-final"
	timeLayout  = "20060102T150405Z"
)

// Latest stands for the newest archive.
const Latest = "latest"

// Name of an archive of a cluster.
func Name(cluster string, taken time.Time, final bool) string {
	name := cluster + "-" + taken.UTC().Format(timeLayout)
	if final {
		name += finalSuffix
	}
	return name + extension
}

var named = regexp.MustCompile(`^(.+)-(\d{8}T\d{6}Z)(` + finalSuffix + `)?` + regexp.QuoteMeta(extension) + `(` +
	regexp.QuoteMeta(EncryptedExtension) + `)?$`)

// list returns the names of a cluster's archives in a folder, the newest first.
func list(folder, cluster string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "listing archives: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if parts := named.FindStringSubmatch(entry.Name()); parts != nil && parts[1] == cluster &&
			entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(named.FindStringSubmatch(b)[2], named.FindStringSubmatch(a)[2])
	})
	return names, nil
}

// Find returns the path of an archive by its name, or of the newest. The error names those there are.
func Find(folder, cluster, name string) (string, error) {
	names, err := list(folder, cluster)
	if err != nil {
		return "", err
	}
	switch {
	case len(names) == 0:
		return "", errclass.Errorf(errclass.Configuration, "finding the latest archive: there is no archive of "+
			"cluster %q; submit backup first", cluster)
	case name == Latest:
		return filepath.Join(folder, names[0]), nil
	case slices.Contains(names, name):
		return filepath.Join(folder, name), nil
	}
	return "", errclass.Errorf(errclass.Configuration, "finding archive %q: it does not exist; there are %s", name,
		strings.Join(names, ", "))
}

// prune removes all but the newest archives of a cluster, final ones excepted, and files that an interrupted Create
// left behind. With a keep of 0 all archives stay.
func prune(folder, cluster string, keep int) ([]string, error) {
	names, err := list(folder, cluster)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return named.FindStringSubmatch(name)[3] != "" })
	if keep == 0 || keep > len(names) {
		keep = len(names)
	}
	interrupted, err := interrupted(folder, cluster)
	if err != nil {
		return nil, err
	}
	obsolete := slices.Concat(names[keep:], interrupted)
	for _, name := range obsolete {
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, errclass.Errorf(errclass.Permanent, "removing an old archive: %w", err)
		}
	}
	return obsolete, nil
}

// interrupted returns the names of files that a Create for the cluster left behind.
func interrupted(folder, cluster string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "listing interrupted archives: %w", err)
	}
	var names []string
	for _, entry := range entries {
		archive, found := atomicfile.Leftover(entry.Name())
		if parts := named.FindStringSubmatch(archive); found && parts != nil && parts[1] == cluster {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Create writes an archive under a name of its own for as long as it is not complete, readable to its owner alone. An
// archive that was there under the name is replaced. With recipients the archive is encrypted to them.
func Create(path string, taken time.Time, write func(*Writer) (Manifest, error),
	recipients ...age.Recipient,
) (Manifest, error) {
	manifest, err := createArchive(path, taken, write, recipients)
	if err != nil {
		return Manifest{}, fmt.Errorf("writing archive %q: %w", filepath.Base(path), err)
	}
	return manifest, nil
}

func createArchive(path string, taken time.Time, write func(*Writer) (Manifest, error),
	recipients []age.Recipient,
) (Manifest, error) {
	file, err := atomicfile.Create(path)
	if err != nil {
		return Manifest{}, err
	}
	defer file.Discard()
	content, err := encrypted(file, recipients)
	if err != nil {
		return Manifest{}, err
	}
	writer, err := newWriter(content, taken)
	if err != nil {
		return Manifest{}, err
	}
	manifest, err := write(writer)
	if err != nil {
		return Manifest{}, err
	}
	if err := content.Close(); err != nil {
		return Manifest{}, fmt.Errorf("encrypting the archive's end: %w", err)
	}
	return manifest, file.Commit(0o600)
}

func (a *Archive) name() string { return filepath.Base(a.path) }
