package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/bundle"
)

var bundleName = regexp.MustCompile(`^kubernetes-(v[0-9][0-9A-Za-z.+-]*)-[a-z0-9]+\.(tar\.gz|tar\.zst)$`)

// versionOf returns the version in a bundle's name, or "" for any other name.
func versionOf(name string) string {
	parts := bundleName.FindStringSubmatch(name)
	if parts == nil {
		return ""
	}
	return parts[1]
}

// bundles returns the names of the bundles in the folder.
func (h *Handler) bundles() ([]string, error) {
	entries, err := os.ReadDir(h.folder)
	if err != nil {
		return nil, fmt.Errorf("reading folder %q: %w", h.folder, err)
	}
	var names []string
	for _, entry := range entries {
		if versionOf(entry.Name()) != "" {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// has reports whether there is a bundle of the version.
func (h *Handler) has(version string) bool {
	names, err := h.bundles()
	return err == nil && slices.ContainsFunc(names, func(name string) bool { return versionOf(name) == version })
}

// Index finds out the digests: from SHA256SUMS in the folder, and for bundles that it does not name by reading them,
// which takes a second for each. It is called once.
func (h *Handler) Index(ctx context.Context) error {
	sums, err := h.digests(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sums, h.broken = sums, err
	return err
}

func (h *Handler) digests(ctx context.Context) (map[string]string, error) {
	names, err := h.bundles()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(h.folder, bundle.SumsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", bundle.SumsFile, err)
	}
	sums := map[string]string{}
	for _, name := range names {
		digest, err := bundle.SumOf(text, name)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", bundle.SumsFile, err)
		}
		if digest == "" {
			if digest, err = hashFile(ctx, filepath.Join(h.folder, name)); err != nil {
				return nil, fmt.Errorf("computing the digest of %q: %w", name, err)
			}
		}
		sums[name] = digest
	}
	return sums, nil
}

// hashFile reads in blocks, and ends at once when the server does.
func hashFile(ctx context.Context, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if _, err := io.CopyN(sum, file, 1<<20); errors.Is(err, io.EOF) {
			return hex.EncodeToString(sum.Sum(nil)), nil
		} else if err != nil {
			return "", err
		}
	}
}

// sum returns the digest of a bundle, or "" while it is not known.
func (h *Handler) sum(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sums[name]
}

// sumLines returns the text of SHA256SUMS, once it is known.
func (h *Handler) sumLines() (text string, known bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h.sums)) {
		fmt.Fprintf(&lines, "%s  %s\n", h.sums[name], name)
	}
	return lines.String(), h.sums != nil, h.broken
}
