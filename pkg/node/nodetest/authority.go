// Package nodetest makes files for tests whose machine is a folder: the credentials of a kubelet, and bundles.
package nodetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// Authority is the certificate authority of a cluster, valid for an hour.
type Authority struct {
	// PEM is its certificate.
	PEM string

	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

// NewAuthority makes one. Two of one name are two authorities.
func NewAuthority(t *testing.T, name string) *Authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &Authority{key: newKey(t), certificate: template}
	der := a.sign(t, template, a.key)
	parsed, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	a.certificate, a.PEM = parsed, inPEM(der)
	return a
}

// Issue returns a certificate, in PEM, for the user with this name.
func (a *Authority) Issue(t *testing.T, name string, until time.Time) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour),
		NotAfter: until,
	}
	return inPEM(a.sign(t, template, newKey(t)))
}

// KubeletConf returns a kubelet's kubeconfig, for the API server at this address and with the certificate in this file.
func (a *Authority) KubeletConf(server, certificate string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: default
clusters:
- name: default-cluster
  cluster: {server: %q, certificate-authority-data: %s}
contexts:
- name: default
  context: {cluster: default-cluster, user: default-auth}
users:
- name: default-auth
  user: {client-certificate: %s, client-key: %s}
`, server, base64.StdEncoding.EncodeToString([]byte(a.PEM)), certificate, certificate)
}

func (a *Authority) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	assert.NilError(t, err)
	return der
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	return key
}

func inPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Server is the configuration of a server that listens at this address and whose certificate the authority has
// signed.
func (a *Authority) Server(t *testing.T, address string) *tls.Config {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)},
	}
	certificate := tls.Certificate{Certificate: [][]byte{a.sign(t, template, key)}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}
}
