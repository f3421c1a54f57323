package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func (l *Lab) repositoryPID() string { return filepath.Join(l.state, "repository.pid") }

// ensureRepository publishes the bundle that machines are joined with, and
// starts the web server.
func (l *Lab) ensureRepository(ctx context.Context) error {
	if err := l.PublishBundle(ctx, Version); err != nil {
		return err
	}
	return l.ensureServer()
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

func (l *Lab) ensureServer() error {
	if _, ok := readProcess(l.repositoryPID()); ok {
		return nil
	}
	if _, err := l.detach(l.repositoryPID(), filepath.Join(l.state, "repository.log"), "serve"); err != nil {
		return fmt.Errorf("starting the bundle server: %w", err)
	}
	return nil
}

// Serve runs the web server for bundles until SIGTERM. It is the body of a
// background process.
func Serve(stateDir string) error {
	l := openState(stateDir, os.Stderr)
	self, err := thisProcess()
	if err != nil {
		return err
	}
	if err := self.write(l.repositoryPID()); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := &http.Server{Addr: repositoryAddress, Handler: http.FileServer(http.Dir(l.HTTPDir())), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving bundles on %s: %w", repositoryAddress, err)
	case <-ctx.Done():
		return server.Close()
	}
}
