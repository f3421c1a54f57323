package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/store"
)

func TestStoreReadPrintsSummaryAndSealedKeys(t *testing.T) {
	folder, taken := t.TempDir(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	name := store.Name("team-a", taken, false)
	_, err := store.Create(filepath.Join(folder, name), taken, func(w *store.Writer) (store.Manifest, error) {
		assert.NilError(t, w.Add(store.PKIPrefix+"ca.key", []byte("very secret")))
		return w.Close(store.About{Cluster: "team-a", Endpoint: "192.0.2.10:443"}, 4711)
	})
	assert.NilError(t, err)
	reader, err := store.NewReader()
	assert.NilError(t, err)
	read := []string{"store", "read", "--folder=" + folder, "--cluster=team-a", "--seal-for=" + reader.Address()}
	log := filepath.Join(t.TempDir(), "termination-log")
	out, _, err := run(t, append(read, "--termination-log="+log)...)
	assert.NilError(t, err)
	assert.Assert(t, !bytes.Contains([]byte(out), []byte("very secret")))

	lines := bytes.Split([]byte(out), []byte("\n"))
	sealed, found := bytes.CutPrefix(lines[0], []byte(store.SealedPrefix))
	assert.Assert(t, found, out)
	files, err := reader.Unseal(string(sealed))
	assert.NilError(t, err)
	assert.Equal(t, string(files["ca.key"]), "very secret")
	var result store.Result
	assert.NilError(t, json.Unmarshal(lines[1], &result))
	assert.Equal(t, result.Archive, name)
	assert.Equal(t, result.Revision, int64(4711))
	assert.Equal(t, result.Endpoint, "192.0.2.10:443")

	assert.NilError(t, os.WriteFile(log, nil, 0o600)) // in a pod there is one
	out, _, err = run(t, append(read, "--termination-log="+log)...)
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(out, "4711"), out)
	written, err := os.ReadFile(log)
	assert.NilError(t, err)
	assert.Equal(t, string(written), string(lines[1]))
}

func TestMissingArchiveIsAConfigurationError(t *testing.T) {
	_, code, err := run(t, "store", "read", "--folder="+t.TempDir(), "--cluster=team-a",
		"--archive=team-a-20260301T120000Z.tar.zst")
	assert.ErrorContains(t, err, `no archive of cluster "team-a"`)
	assert.Equal(t, code, program.ExitConfiguration)
}

func TestADatabaseIsPreparedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	_, _, err := run(t, "store", "prepare", "--file="+file, "--revision=4711")
	assert.NilError(t, err)
	first, err := os.ReadFile(file)
	assert.NilError(t, err)
	_, _, err = run(t, "store", "prepare", "--file="+file, "--revision=4712")
	assert.NilError(t, err)
	second, err := os.ReadFile(file)
	assert.NilError(t, err)
	assert.DeepEqual(t, first, second)
}
