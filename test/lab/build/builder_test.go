package build

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"
)

func newCache(t *testing.T) *Builder {
	t.Helper()
	return &Builder{Cache: t.TempDir(), Source: ".", Log: io.Discard}
}

func TestConcurrentRequestsBuildOnce(t *testing.T) {
	cache := t.TempDir()
	var made atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			// A builder each, as separate processes have.
			b := &Builder{Cache: cache, Log: io.Discard}
			entry, err := b.ensure(t.Context(), "thing/v1", "thing", func(folder string, _ *progress) error {
				made.Add(1)
				return os.WriteFile(filepath.Join(folder, "program"), []byte("x"), 0o755)
			})
			assert.Check(t, err)
			_, err = os.Stat(filepath.Join(entry, "program"))
			assert.Check(t, err)
		})
	}
	all.Wait()
	assert.Equal(t, made.Load(), int32(1))
}

func TestFailedBuildLeavesNoCacheEntry(t *testing.T) {
	b := newCache(t)
	broken := errors.New("broken")
	_, err := b.ensure(t.Context(), "thing/v1", "thing", func(folder string, _ *progress) error {
		assert.NilError(t, os.WriteFile(filepath.Join(folder, "half"), nil, 0o644))
		return broken
	})
	assert.ErrorIs(t, err, broken)
	assert.Assert(t, !isFolder(filepath.Join(b.Cache, "thing/v1")))

	// A process that was killed leaves this behind.
	write(t, filepath.Join(b.Cache, "thing/v1.partial/half"), "")
	entry, err := b.ensure(t.Context(), "thing/v1", "thing", func(folder string, _ *progress) error {
		return os.WriteFile(filepath.Join(folder, "whole"), nil, 0o644)
	})
	assert.NilError(t, err)
	files, err := os.ReadDir(entry)
	assert.NilError(t, err)
	assert.Equal(t, len(files), 1)
	assert.Equal(t, files[0].Name(), "whole")
}

func TestWaitingForAnotherBuildEndsWithTheContext(t *testing.T) {
	b := newCache(t)
	log := &strings.Builder{}
	b.Log = log
	unlock, err := b.lock(t.Context(), filepath.Join(b.Cache, "thing.lock"), "thing")
	assert.NilError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.lock(ctx, filepath.Join(b.Cache, "thing.lock"), "thing")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, log.String(), "thing: somebody else builds it, waiting\n")

	unlock()
	unlock, err = b.lock(t.Context(), filepath.Join(b.Cache, "thing.lock"), "thing")
	assert.NilError(t, err)
	unlock()
}

func TestTheCacheIsWhereTheEnvironmentPutsIt(t *testing.T) {
	for _, c := range []struct{ argosy, xdg, home, want string }{
		{argosy: "/a", xdg: "/x", home: "/h", want: "/a/lab"},
		{xdg: "/x", home: "/h", want: "/x/argosy/lab"},
		{home: "/h", want: "/h/.cache/argosy/lab"},
	} {
		t.Setenv("ARGOSY_CACHE", c.argosy)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		b, err := New(".", nil)
		assert.NilError(t, err)
		assert.Equal(t, b.Cache, c.want)
	}
}

func TestFolderWithoutModulesIsRefused(t *testing.T) {
	_, err := New(t.TempDir(), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
