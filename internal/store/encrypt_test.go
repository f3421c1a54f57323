package store

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/nacl/secretbox"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
)

// An archive of an encrypted store comes back with the key that reads its values, for its recipient alone. The values
// are encoded as kube-apiserver does it with provider secretbox.
func TestAnEncryptedStoreComesBackReadable(t *testing.T) {
	var key [32]byte
	_, err := rand.Read(key[:])
	assert.NilError(t, err)
	const prefix, name = "k8s:enc:secretbox:v1:key1:", "/registry/secrets/default/token"
	var nonce [24]byte
	_, err = rand.Read(nonce[:])
	assert.NilError(t, err)
	value := prefix + string(secretbox.Seal(nonce[:], []byte("very secret"), &nonce, &key))
	_, client := simulate(t, append(cluster(30), kv(name, value))...)

	recipient, err := age.GenerateX25519Identity()
	assert.NilError(t, err)
	wanted := order(t, client.Endpoints()[0])
	wanted.Recipients = []string{recipient.Recipient().String()}
	wanted.Output += EncryptedExtension
	encoded := base64.StdEncoding.EncodeToString(key[:])
	assert.NilError(t, os.WriteFile(filepath.Join(wanted.PKI, "encryption.yaml"), []byte(encoded), 0o600))
	result, err := Backup(t.Context(), wanted, func(string) {})
	assert.NilError(t, err)
	assert.Equal(t, result.Archive, "team-a-20260301T120000Z.tar.zst.age")
	content, err := os.ReadFile(wanted.Output)
	assert.NilError(t, err)
	assert.Assert(t, bytes.HasPrefix(content, []byte("age-encryption.org/v1\n")))

	found, err := Find(filepath.Dir(wanted.Output), "team-a", Latest)
	assert.NilError(t, err)
	other, err := age.GenerateX25519Identity()
	assert.NilError(t, err)
	for _, identities := range [][]age.Identity{nil, {other}} {
		_, err = Open(found, identities...)
		assert.ErrorContains(t, err, "controlPlane.archives.identitySecret")
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
	archive, err := Open(found, recipient)
	assert.NilError(t, err)
	to, empty := simulate(t)
	_, err = Restore(t.Context(), Access{Endpoints: empty.Endpoints()}, archive, func(string) {})
	assert.NilError(t, err)

	restored, err := base64.StdEncoding.DecodeString(string(archive.Files(PKIPrefix)["encryption.yaml"]))
	assert.NilError(t, err)
	sealed := []byte(strings.TrimPrefix(values(to)[name], prefix))
	text, whole := secretbox.Open(nil, sealed[24:], (*[24]byte)(sealed[:24]), (*[32]byte)(restored))
	assert.Assert(t, whole)
	assert.Equal(t, string(text), "very secret")
}

func TestAnEncryptedArchiveThatIsCutOffIsRefused(t *testing.T) {
	_, client := simulate(t, cluster(300)...)
	recipient, err := age.GenerateX25519Identity()
	assert.NilError(t, err)
	wanted := order(t, client.Endpoints()[0])
	wanted.Recipients = []string{recipient.Recipient().String()}
	_, err = Backup(t.Context(), wanted, func(string) {})
	assert.NilError(t, err)
	whole, err := os.ReadFile(wanted.Output)
	assert.NilError(t, err)
	for _, size := range []int{10, 200, len(whole) / 2, len(whole) - 1} {
		path := filepath.Join(t.TempDir(), filepath.Base(wanted.Output))
		assert.NilError(t, os.WriteFile(path, whole[:size], 0o600))
		_, err := Open(path, recipient)
		assert.ErrorContains(t, err, "can't be used", "%d bytes", size)
	}
}

func TestIdentitiesAreReadAndNeverPrinted(t *testing.T) {
	none, err := Identities(filepath.Join(t.TempDir(), "missing"))
	assert.NilError(t, err)
	assert.Equal(t, len(none), 0)
	path := filepath.Join(t.TempDir(), "identity")
	assert.NilError(t, os.WriteFile(path, []byte("AGE-SECRET-KEY-1NOTONE"), 0o600))
	_, err = Identities(path)
	assert.ErrorContains(t, err, "identitySecret")
	assert.Assert(t, !strings.Contains(err.Error(), "NOTONE"))
	made, err := age.GenerateX25519Identity()
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(path, []byte("# created\n"+made.String()+"\n"), 0o600))
	read, err := Identities(path)
	assert.NilError(t, err)
	assert.Equal(t, len(read), 1)
	_, err = Recipients([]string{"age1"})
	assert.ErrorContains(t, err, `recipient "age1"`)
}
