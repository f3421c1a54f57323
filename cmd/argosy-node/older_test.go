package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestOnlyOlderProgramsOfEarlierPluginsAreRemoved(t *testing.T) {
	folder, now := t.TempDir(), time.Now()
	make := func(name string, age time.Duration) string {
		path := filepath.Join(folder, name)
		assert.NilError(t, os.WriteFile(path, nil, 0o755))
		assert.NilError(t, os.Chtimes(path, now, now.Add(-age)))
		return path
	}
	self := make("argosy-node-0123456789abcdef", 48*time.Hour)
	older := make("argosy-node-aaaaaaaaaaaaaaaa", 48*time.Hour)
	keep := []string{
		self, make("argosy-node-bbbbbbbbbbbbbbbb", time.Hour), make("kubelet", 48*time.Hour),
		make("argosy-node-mine", 48*time.Hour),
	}

	removeOlder(self, now)

	_, err := os.Stat(older)
	assert.ErrorIs(t, err, os.ErrNotExist)
	for _, path := range keep {
		_, err := os.Stat(path)
		assert.NilError(t, err)
	}
}
