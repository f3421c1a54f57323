// Package build makes the programs and images of the lab: Kubernetes, etcd, containerd, runc, the CNI plugins, Argo and
// the addons of provisioned clusters from their Go modules, container images from those programs, and node bundles.
// Each result lies in a cache outside the checkout under a key of its inputs, is made when it is absent and left alone
// when it is there. The package downloads no finished program but Debian's, unless Builder.Official is set, and never
// writes into the checkout.
package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Builder builds the lab's parts into Cache. Its methods may be called at the same time, also from several processes:
// the second waits for the first and uses its result.
type Builder struct {
	// Cache is the folder of everything built, ".../argosy/lab". An entry never changes once it is there, so any
	// of them may be removed while no lab runs.
	Cache string
	// Source is the folder test/lab/build of the checkout, which is only read.
	Source string
	// Official has programs taken from releases where that can be done; nil compiles all of them.
	Official *Official
	// Log gets a line when a build starts, every 15 seconds while it runs, and when it is done.
	Log io.Writer
}

// New returns a builder for the checkout's folder test/lab/build. Its cache is the folder lab beneath $ARGOSY_CACHE,
// else beneath $XDG_CACHE_HOME/argosy, else beneath ~/.cache/argosy.
func New(source string, log io.Writer) (*Builder, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return nil, fmt.Errorf("locating sources %q: %w", source, err)
	}
	if _, err := os.Stat(filepath.Join(source, "modules")); err != nil {
		return nil, fmt.Errorf("opening sources %q: %w", source, err)
	}
	cache, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = io.Discard
	}
	return &Builder{Cache: cache, Source: source, Log: log}, nil
}

func cacheFolder() (string, error) {
	if own := os.Getenv("ARGOSY_CACHE"); own != "" {
		folder, err := filepath.Abs(own)
		if err != nil {
			return "", fmt.Errorf("locating cache %q: %w", own, err)
		}
		return filepath.Join(folder, "lab"), nil
	}
	folder, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("locating the user's cache: %w", err)
	}
	return filepath.Join(folder, "argosy", "lab"), nil
}

// ensure returns the cache entry of that name, made by fill if it is absent. fill gets an empty folder, which becomes
// the entry in one step when fill is done: there are no half-made entries, whatever happens to this process.
func (b *Builder) ensure(ctx context.Context, name, title string, fill func(folder string, p *progress) error) (string,
	error,
) {
	return b.ensureBy(ctx, building, name, title, fill)
}

// ensureBy is ensure for work of another kind, which the lines of the log name.
func (b *Builder) ensureBy(ctx context.Context, kind work, name, title string,
	fill func(folder string, p *progress) error,
) (string, error) {
	entry := filepath.Join(b.Cache, name)
	if isFolder(entry) {
		return entry, nil
	}
	unlock, err := b.lock(ctx, entry+".lock", title)
	if err != nil {
		return "", err
	}
	defer unlock()
	if isFolder(entry) {
		return entry, nil
	}
	partial := entry + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("clearing %q: %w", partial, err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", fmt.Errorf("making %q: %w", partial, err)
	}
	defer os.RemoveAll(partial)

	p := startProgress(b.Log, title, kind)
	err = fill(partial, p)
	p.stop()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", kind.doing, title, err)
	}
	if err := os.Rename(partial, entry); err != nil {
		return "", fmt.Errorf("keeping %q: %w", entry, err)
	}
	p.done(entry)
	return entry, nil
}

// lock takes the file's lock, which the kernel releases when the process ends, however it ends.
func (b *Builder) lock(ctx context.Context, path, title string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %q: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening lock %q: %w", path, err)
	}
	for told := false; ; told = true {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			file.Close()
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
		if !told {
			fmt.Fprintf(b.Log, "%s: somebody else builds it, waiting\n", title)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("waiting for lock %q: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// fileName makes one path element out of a reference or version.
func fileName(s string) string {
	return strings.NewReplacer("/", "_", ":", "_", "@", "_").Replace(s)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
