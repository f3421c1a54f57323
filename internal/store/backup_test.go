package store

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

// order asks for a backup of a simulated store, from folders as a pod has them.
func order(t *testing.T, socket string) Order {
	t.Helper()
	folder := t.TempDir()
	for _, dir := range []string{"pki/..data", "documents", "backups"} {
		assert.NilError(t, os.MkdirAll(filepath.Join(folder, dir), 0o700))
	}
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "pki/..data/ca.key"), []byte("secret"), 0o600))
	assert.NilError(t, os.Symlink("..data/ca.key", filepath.Join(folder, "pki/ca.key")))
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "documents/vcluster.yaml"), []byte("privateNodes: {}\n"),
		0o600))
	return Order{
		Access: Access{Endpoints: []string{socket}}, PKI: filepath.Join(folder, "pki"),
		Documents: filepath.Join(folder, "documents"),
		Output:    filepath.Join(folder, "backups", Name("team-a", noon(), false)), Keep: 1, About: about,
	}
}

func TestBackupHoldsStoreKeysAndDocumentsAndReplacesOlderOnes(t *testing.T) {
	_, client := simulate(t, cluster(30)...)
	wanted := order(t, client.Endpoints()[0])
	old := Name("team-a", noon().AddDate(0, 0, -1), false)
	touch(t, filepath.Dir(wanted.Output), old)
	result, err := Backup(t.Context(), wanted, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, result.Archive, "team-a-20260301T120000Z.tar.zst")
	assert.Equal(t, result.Keys, 30)
	assert.DeepEqual(t, result.Removed, []string{old})
	assert.Equal(t, len(result.Parts), 0, "the result is short")

	archive := opened(t, wanted.Output)
	assert.DeepEqual(t, archive.Files(PKIPrefix), map[string][]byte{"ca.key": []byte("secret")})
	assert.Equal(t, len(archive.Files(documentsPrefix)), 1)

	to, other := simulate(t)
	restored, err := Restore(t.Context(), Access{Endpoints: other.Endpoints()}, archive, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, restored.Keys, 30)
	assert.Equal(t, len(values(to)), 31)
}

func TestResultIsShortForManyRemovedArchives(t *testing.T) {
	_, client := simulate(t, cluster(3)...)
	wanted := order(t, client.Endpoints()[0])
	for day := range 100 {
		touch(t, filepath.Dir(wanted.Output), Name("team-a", noon().AddDate(0, 0, -1-day), false))
	}
	result, err := Backup(t.Context(), wanted, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, result.Gone, 100)
	assert.Equal(t, len(result.Removed), 10)
	text, err := json.Marshal(result)
	assert.NilError(t, err)
	assert.Assert(t, len(text) < 4096, "%d bytes", len(text))
}

func TestABackupThatFailsKeepsOlderOnes(t *testing.T) {
	_, client := simulate(t, cluster(3)...)
	wanted := order(t, client.Endpoints()[0])
	wanted.PKI = filepath.Join(t.TempDir(), "missing")
	touch(t, filepath.Dir(wanted.Output), Name("team-a", noon().AddDate(0, 0, -1), false))
	_, err := Backup(t.Context(), wanted, func(string) {})
	assert.ErrorContains(t, err, "reading the files for the archive")
	names, err := list(filepath.Dir(wanted.Output), "team-a")
	assert.NilError(t, err)
	assert.Equal(t, len(names), 1)
}
