package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/test/lab/build"
)

// ensureRepository publishes the bundle that machines are joined with, and
// starts the web server.
func (l *Lab) ensureRepository(ctx context.Context, bundle build.Bundle) error {
	if err := l.publish(Version, bundle.Name, bundle.Path, bundle.SHA256); err != nil {
		return err
	}
	return l.ensureDaemon(ctx, repositoryDaemon, repositoryAddress)
}

// PublishBundle makes the node bundle of a Kubernetes version, or finds it in
// the cache, and puts it where the web server finds it. Up does it for Version.
func (l *Lab) PublishBundle(ctx context.Context, version string) error {
	builder, err := l.builder()
	if err != nil {
		return err
	}
	bundle, err := builder.Bundle(ctx, version)
	if err != nil {
		return fmt.Errorf("making the bundle of %s: %w", version, err)
	}
	return l.publish(version, bundle.Name, bundle.Path, bundle.SHA256)
}

// publish links a bundle into the folder of its version and lists its digest
// in the SHA256SUMS beside it.
func (l *Lab) publish(version, name, path, digest string) error {
	dir := filepath.Join(l.HTTPDir(), version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", dir, err)
	}
	if err := replaceLink(path, filepath.Join(dir, name)); err != nil {
		return err
	}
	sums := filepath.Join(dir, "SHA256SUMS")
	old, err := os.ReadFile(sums)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %q: %w", sums, err)
	}
	lines := slices.DeleteFunc(strings.Split(string(old), "\n"), func(line string) bool {
		return line == "" || strings.HasSuffix(line, "  "+name)
	})
	text := strings.Join(append(lines, digest+"  "+name), "\n") + "\n"
	if text == string(old) {
		return nil
	}
	if err := os.WriteFile(sums, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing %q: %w", sums, err)
	}
	return nil
}

// serveRepository runs the web server for bundles.
func (l *Lab) serveRepository(ctx context.Context) error {
	if err := serveHTTP(ctx, repositoryAddress, http.FileServer(http.Dir(l.HTTPDir()))); err != nil {
		return fmt.Errorf("serving bundles: %w", err)
	}
	return nil
}

// serveHTTP serves until the context ends.
func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return fmt.Errorf("listening on %s: %w", address, err)
	case <-ctx.Done():
		return server.Close()
	}
}
