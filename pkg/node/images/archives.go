package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// archive is one archive of a source: a file on the machine, or one that the plugin sends.
type archive struct {
	// name is used in messages; key identifies the content.
	name, key string
	// path on the machine, size of the archive in bytes, 0 when unknown.
	path string
	size int64
	sent *spec.SentImages
	// absent is the reason why there is nothing to import.
	absent error
}

// endings are the file name endings of archives in a folder.
var endings = []string{".tar", ".tar.gz", ".tar.zst"}

// archives returns the archives of all sources, in order.
func archives(h *host.Host, sources []spec.ImageSource) []archive {
	var all []archive
	for _, source := range sources {
		if source.Sent != nil {
			all = append(all, archive{
				name: source.Name, key: source.Sent.Key, size: source.Sent.Size,
				sent: source.Sent,
			})
			continue
		}
		all = append(all, onMachine(h, source.Path)...)
	}
	return all
}

// onMachine returns the archive at a path, or those in a folder, in the order of their names.
func onMachine(h *host.Host, path string) []archive {
	info, err := os.Stat(h.Path(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []archive{{name: path, absent: errclass.With(errclass.Configuration,
			errors.New("there is no such file or folder on the machine"))}}
	case err != nil:
		return []archive{{name: path, absent: fmt.Errorf("reading its metadata: %w", err)}}
	case info.Mode().IsRegular():
		return []archive{fileArchive(path, info)}
	case !info.IsDir():
		return []archive{{name: path, absent: errclass.With(errclass.Configuration,
			errors.New("it is neither a file nor a folder"))}}
	}
	entries, err := os.ReadDir(h.Path(path))
	if err != nil {
		return []archive{{name: path, absent: fmt.Errorf("listing the folder: %w", err)}}
	}
	var found []archive
	for _, entry := range entries {
		if slices.ContainsFunc(endings, func(ending string) bool { return strings.HasSuffix(entry.Name(), ending) }) {
			found = append(found, inFolder(h, filepath.Join(path, entry.Name()))...)
		}
	}
	return found
}

// inFolder returns a file of a folder as an archive; none if it is not a regular file.
func inFolder(h *host.Host, path string) []archive {
	info, err := os.Stat(h.Path(path))
	if err != nil {
		return []archive{{name: path, absent: fmt.Errorf("reading its metadata: %w", err)}}
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return []archive{fileArchive(path, info)}
}

func fileArchive(path string, info fs.FileInfo) archive {
	return archive{
		name: path, path: path, size: info.Size(),
		key: fmt.Sprintf("file %s %d %d", path, info.Size(), info.ModTime().UnixNano()),
	}
}

// expected returns the images of an archive that are known before it is read: from the plugin, or from its last import.
func (a archive) expected(known record) map[string]string {
	if a.sent != nil && len(a.sent.Images) > 0 {
		return a.sent.Images
	}
	return known[a.key].Images
}

// missing returns the archives that have to be imported; the runtime has all images of the others, at the same digests.
func missing(ctx context.Context, c *node.Context, into Runtime, all []archive, known record) ([]archive, error) {
	names := map[string]bool{}
	for _, one := range all {
		for name := range one.expected(known) {
			names[name] = true
		}
	}
	has := map[string]string{}
	if len(names) > 0 && into.answers(ctx, c.Host) {
		var err error
		if has, err = into.digests(ctx, c, slices.Sorted(maps.Keys(names))); err != nil {
			return nil, err
		}
	}
	var wanted []archive
	for _, one := range all {
		if !one.holds(known, has) {
			wanted = append(wanted, one)
		}
	}
	return wanted, nil
}

func (a archive) holds(known record, has map[string]string) bool {
	expected := a.expected(known)
	for name, digest := range expected {
		if has[name] != digest {
			return false
		}
	}
	return len(expected) > 0
}
