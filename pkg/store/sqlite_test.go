package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

func TestRevisionsOfAPreparedDatabaseBeginAfterTheGivenOne(t *testing.T) {
	for _, revision := range []int64{1, 7_654_321, 5_000_000_000} {
		folder := t.TempDir()
		path := filepath.Join(folder, "state.db")
		assert.NilError(t, PrepareSQLite(path, revision))
		client := kineOn(t, path)
		assert.NilError(t, createOnce(t.Context(), client, kv("/registry/pods/default/a", "pod")))
		held, err := get(t.Context(), client, "/registry/pods/default/a")
		assert.NilError(t, err)
		assert.Assert(t, held.Kvs[0].ModRevision > revision && held.Kvs[0].ModRevision < revision+10, "%d", held.Kvs[0].ModRevision)
	}
}

func TestADatabaseThatIsThereIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	assert.NilError(t, os.WriteFile(path, []byte("somebody's"), 0o600))
	assert.NilError(t, PrepareSQLite(path, 1))
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(content, []byte("somebody's")))
}
