package kubeconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
)

func certificate(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	assert.NilError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTheCurrentContextIsRead(t *testing.T) {
	ca, client := certificate(t, "kubernetes"), certificate(t, "system:node:m1")
	h := &host.Host{Root: t.TempDir()}
	key := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("key")})
	assert.NilError(t, os.WriteFile(h.Path("/client.pem"), append(key, client...), 0o600))
	text := `current-context: mine
contexts:
- {name: other, context: {cluster: other, user: other}}
- {name: mine, context: {cluster: mine, user: mine}}
clusters:
- {name: other, cluster: {server: "https://other"}}
- {name: mine, cluster: {server: "https://mine:6443", certificate-authority-data: ` + base64.StdEncoding.EncodeToString(ca) + `}}
users:
- {name: mine, user: {client-certificate: /client.pem}}
`
	assert.NilError(t, os.WriteFile(h.Path("/kubelet.conf"), []byte(text), 0o600))
	config, err := Read(h, "/kubelet.conf")
	assert.NilError(t, err)
	assert.Equal(t, config.Server, "https://mine:6443")
	assert.Assert(t, SameCA(config.CA, ca))
	name, until := Node(config.ClientCertificate)
	assert.Equal(t, name, "m1")
	assert.Assert(t, until.After(time.Now()))
	assert.Equal(t, len(CADigest(config.CA)), 64)
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	h := &host.Host{Root: t.TempDir()}
	_, err := Read(h, "/missing")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	for name, text := range map[string]string{"empty": "", "not YAML": "{", "no server": "current-context: x", "bad data": "current-context: a\ncontexts: [{name: a, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: s, certificate-authority-data: '!'}}]"} {
		assert.NilError(t, os.WriteFile(h.Path("/conf"), []byte(text), 0o600))
		_, err := Read(h, "/conf")
		assert.ErrorContains(t, err, `reading "/conf"`, name)
	}
}

func TestAuthoritiesAreComparedWhileOneIsRotated(t *testing.T) {
	old, fresh := certificate(t, "old"), certificate(t, "new")
	both := append(append([]byte{}, old...), fresh...)
	assert.Assert(t, SameCA(old, both))
	assert.Assert(t, SameCA(both, fresh))
	assert.Assert(t, !SameCA(old, fresh))
	assert.Assert(t, !SameCA(nil, old))
	assert.Equal(t, CADigest([]byte("nonsense")), "")
	name, _ := Node(certificate(t, "admin"))
	assert.Equal(t, name, "")
}
