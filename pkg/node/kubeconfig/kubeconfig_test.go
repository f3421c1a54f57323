package kubeconfig

import (
	"encoding/base64"
	"encoding/pem"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/nodetest"
)

func TestTheCurrentContextIsRead(t *testing.T) {
	authority := nodetest.NewAuthority(t, "kubernetes")
	ca, client := []byte(authority.PEM), []byte(authority.Issue(t, "system:node:m1", time.Now().Add(time.Hour)))
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
	for name, text := range map[string]string{
		"empty": "", "not YAML": "{", "no server": "current-context: x",
		"bad data": "current-context: a\ncontexts: [{name: a, context: {cluster: a}}]\nclusters: [{name: a, cluster: " +
			"{server: s, certificate-authority-data: '!'}}]",
	} {
		assert.NilError(t, os.WriteFile(h.Path("/conf"), []byte(text), 0o600))
		_, err := Read(h, "/conf")
		assert.ErrorContains(t, err, `reading "/conf"`, name)
	}
}

func TestAuthoritiesAreComparedWhileOneIsRotated(t *testing.T) {
	old, fresh := []byte(nodetest.NewAuthority(t, "old").PEM), []byte(nodetest.NewAuthority(t, "new").PEM)
	both := append(append([]byte{}, old...), fresh...)
	assert.Assert(t, SameCA(old, both))
	assert.Assert(t, SameCA(both, fresh))
	assert.Assert(t, !SameCA(old, fresh))
	assert.Assert(t, !SameCA(nil, old))
	assert.Equal(t, CADigest([]byte("nonsense")), "")
	name, _ := Node([]byte(nodetest.NewAuthority(t, "admin").PEM))
	assert.Equal(t, name, "")
}

func TestOnlyTheServerOfTheCurrentContextChanges(t *testing.T) {
	const text = `apiVersion: v1
kind: Config
current-context: mine # a comment
contexts:
    - name: other
      context: {cluster: other, user: other}
    - name: mine
      context: {cluster: mine, user: mine}
clusters:
    - name: other
      cluster: {server: 'https://gone:6443'}
    - name: mine
      cluster:
        certificate-authority-data: QQ==
        server: https://gone:6443
users: [{name: mine, user: {client-certificate: /client.pem}}]
`
	changed, err := WithServer([]byte(text), "https://192.0.2.10:6443")
	assert.NilError(t, err)
	assert.Equal(t, string(changed), strings.Replace(text, "        server: https://gone:6443",
		"        server: https://192.0.2.10:6443", 1))
	for _, text := range []string{"", "[]", "current-context: x", "current-context: x\ncontexts: [{name: x}]"} {
		_, err := WithServer([]byte(text), "https://192.0.2.10:6443")
		assert.ErrorContains(t, err, "names no server", text)
	}
	_, err = WithServer([]byte("{"), "https://192.0.2.10:6443")
	assert.ErrorContains(t, err, "reading a kubeconfig")
}
