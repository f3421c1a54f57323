// Package release makes the files of a release from a checkout and the programs that were built from it: the image, the
// archives of the command line program, the Helm chart, the kustomize bases, checksums, a list of contents, provenance
// and signatures. The same inputs give the same bytes. It never compiles anything.
package release

import (
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Release holds the inputs of a release.
type Release struct {
	// Version such as v0.2.0 or v0.2.0-rc.1, which is also the tag in git.
	Version string
	// Registry is where image <Registry>/executor-plugin and chart <Registry>/charts/argosy are.
	Registry string
	// Checkout is the folder with install/, workflows/ and charts/; Programs has those of each platform, such as
	// linux-amd64/argosy.
	Checkout, Programs string
	// Certificates is the file with the authorities that the image trusts.
	Certificates string
	// Commit and Created are the commit's digest and time; all times in files are Created.
	Commit  string
	Created time.Time
	// Builder is the URI of the machinery that makes the release, for the provenance.
	Builder string
	// Key signs; without one nothing is signed.
	Key *ecdsa.PrivateKey
}

// Made is a release whose files are written.
type Made struct {
	// Image and Chart are as they are pushed, and Attestation is the signed provenance, nil without a key.
	Image v1.ImageIndex
	Chart v1.Image
	// Files are the files' SHA-256 by name, without those that are signatures.
	Files map[string]string

	release     Release
	attestation []byte
}

// DefaultRegistry is where releases are published, and Sums the file with the checksums of all others.
const (
	DefaultRegistry = "ghcr.io/argosy-dev"
	imageName       = "executor-plugin"
	chartName       = "argosy"
	Sums            = "SHA256SUMS"
	source          = "https://github.com/argosy-dev/argosy"
)

var versions = regexp.MustCompile(
	`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

// Make writes the release's files into folder, which must be empty or not exist.
func (r Release) Make(ctx context.Context, folder string) (*Made, error) {
	if !versions.MatchString(r.Version) {
		return nil, fmt.Errorf("reading version %q: use three numbers such as v0.2.0, or v0.2.0-rc.1", r.Version)
	}
	if entries, err := os.ReadDir(folder); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("making release %q: folder %q is not empty; remove it, or choose another one",
			r.Version, folder)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("making the release's folder: %w", err)
	}
	made := &Made{Files: map[string]string{}, release: r}
	files, err := r.contents(made)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("writing %q: %w", name, err)
		}
		if err := made.write(folder, name, files[name]); err != nil {
			return nil, err
		}
	}
	return made, made.attest(ctx, folder)
}

// contents returns the files whose digests the provenance has.
func (r Release) contents(made *Made) (map[string][]byte, error) {
	files := map[string][]byte{}
	parts := []func(*Made) (map[string][]byte, error){r.image, r.archives, r.chart, r.bases, r.listContents}
	for _, part := range parts {
		more, err := part(made)
		if err != nil {
			return nil, fmt.Errorf("making release %q: %w", r.Version, err)
		}
		maps.Copy(files, more)
	}
	return files, nil
}

func (m *Made) write(folder, name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	m.Files[name] = hex.EncodeToString(digest(content))
	return nil
}

// sums returns the files' digests as sha256sum prints them.
func (m *Made) sums() []byte {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		fmt.Fprintf(&text, "%s  %s\n", m.Files[name], name)
	}
	return []byte(text.String())
}

// program returns the path of a program of a platform.
func (r Release) program(platform, name string) string {
	return filepath.Join(r.Programs, platform, name)
}

// number is the version as charts have it, without the letter.
func (r Release) number() string { return strings.TrimPrefix(r.Version, "v") }

// repository returns the image's name without a tag.
func (r Release) repository() string { return r.Registry + "/" + imageName }
