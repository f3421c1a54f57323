package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// cached returns the earlier result of make from the same sources, or calls it and notes the result. The builder looks
// at everything it has built to tell that nothing is to be done, which costs seconds; a repeated up need not. A result
// of which any path has gone is made again.
func cached[T any](ctx context.Context, l *Lab, name string, paths func(T) []string, make func() (T, error)) (T,
	error,
) {
	var known T
	key, err := l.sourcesKey(ctx)
	if err != nil {
		return known, err
	}
	if l.official != nil {
		name += "-official"
	}
	note := filepath.Join(l.cache, "lab", "recalled", name+"-"+key+".json")
	if text, err := os.ReadFile(note); err == nil && json.Unmarshal(text, &known) == nil && allExist(paths(known)) {
		return known, nil
	}
	made, err := make()
	if err != nil {
		return made, err
	}
	text, err := json.Marshal(made)
	if err != nil {
		return made, fmt.Errorf("encoding what was built: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(note), 0o755); err != nil {
		return made, fmt.Errorf("making the folder of notes: %w", err)
	}
	if err := os.WriteFile(note+".partial", text, 0o644); err != nil {
		return made, fmt.Errorf("noting what was built: %w", err)
	}
	if err := os.Rename(note+".partial", note); err != nil {
		return made, fmt.Errorf("noting what was built: %w", err)
	}
	return made, nil
}

func allExist(paths []string) bool {
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			return false
		}
	}
	return true
}

// sourcesKey digests the sources that determine the build, and the Go that builds it.
func (l *Lab) sourcesKey(ctx context.Context) (string, error) {
	version, err := run(ctx, "go", "env", "GOVERSION", "GOARCH")
	if err != nil {
		return "", fmt.Errorf("asking go for its version: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintln(sum, version)
	for _, folder := range []string{"test/lab", "pkg/bundle"} {
		err := fs.WalkDir(os.DirFS(filepath.Join(l.source, folder)), ".",
			func(path string, entry fs.DirEntry, err error) error {
				if err != nil || !entry.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
					return err
				}
				text, err := os.ReadFile(filepath.Join(l.source, folder, path))
				if err != nil {
					return err
				}
				fmt.Fprintf(sum, "%q %d\n%s", folder+"/"+path, len(text), text)
				return nil
			})
		if err != nil {
			return "", fmt.Errorf("reading the sources in %q: %w", folder, err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}
