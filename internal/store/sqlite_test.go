package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
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
		assert.Assert(t, held.Kvs[0].ModRevision > revision && held.Kvs[0].ModRevision < revision+10, "%d",
			held.Kvs[0].ModRevision)
	}
}

func TestSkippedRevisionsOfAPreparedDatabaseAreCompacted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	assert.NilError(t, PrepareSQLite(path, 5_000_000_000))
	client := kineOn(t, path, PreparedKineArgs()...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := 0; ; i++ {
		assert.NilError(t, createOnce(ctx, client, kv(fmt.Sprintf("/registry/pods/default/%d", i), "pod")))
		if _, err := client.Get(ctx, healthKey, clientv3.WithRev(4_999_000_000)); errors.Is(err,
			rpctypes.ErrCompacted) {
			return
		}
	}
}

func TestExistingDatabaseIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	assert.NilError(t, os.WriteFile(path, []byte("somebody's"), 0o600))
	assert.NilError(t, PrepareSQLite(path, 1))
	content, err := os.ReadFile(path)
	assert.NilError(t, err)
	assert.Assert(t, bytes.Equal(content, []byte("somebody's")))
}
