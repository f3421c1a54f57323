// Package certificates makes a hosted control plane's keys, signs its certificates and tells which of them have to be
// signed anew. It works on the data of Secrets and never talks to a cluster: reading and writing the Secrets is its
// callers' part.
package certificates

import (
	"time"

	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/pkg/errclass"
)

// Names of the authorities and of the key for service accounts in Secret <cluster>-pki: each authority is in <name>.crt
// and <name>.key, the other key in sa.pub and sa.key.
const (
	ClusterCA    = "ca"
	FrontProxyCA = "front-proxy-ca"
	EtcdCA       = "etcd-ca"
	SigningKey   = "sa"
)

// Extensions of files with certificates and keys.
const (
	CertExtension   = ".crt"
	KeyExtension    = ".key"
	PublicExtension = ".pub"
)

// Keys are a cluster's authorities and the key that signs its service accounts' tokens. They never leave the namespace.
type Keys struct {
	Cluster, FrontProxy, Etcd *pki.Authority
	// SigningPrivate and SigningPublic are PEM.
	SigningPrivate, SigningPublic []byte
	// Encryption is an EncryptionConfiguration with the keys of the store's content; nil where it is not encrypted.
	Encryption []byte
}

// authority is one of the authorities: its name in the Secret, its common name (kubeadm's) and its field.
type authority struct {
	name, commonName string
	field            **pki.Authority
}

func (k *Keys) authorities() []authority {
	return []authority{
		{ClusterCA, "kubernetes", &k.Cluster},
		{FrontProxyCA, "front-proxy-ca", &k.FrontProxy},
		{EtcdCA, "etcd-ca", &k.Etcd},
	}
}

// NewKeys makes the keys of a new cluster.
func NewKeys(now time.Time) (*Keys, error) {
	made := &Keys{}
	var err error
	for _, a := range made.authorities() {
		if *a.field, err = pki.NewAuthority(a.commonName, now); err != nil {
			return nil, err
		}
	}
	made.SigningPrivate, made.SigningPublic, err = pki.NewSigningKey()
	return made, err
}

// ParseKeys reads the keys from the data of Secret <cluster>-pki. The first that is missing or damaged is an error of
// class errclass.Permanent.
func ParseKeys(data map[string][]byte) (*Keys, error) {
	read := &Keys{
		SigningPrivate: data[SigningKey+KeyExtension], SigningPublic: data[SigningKey+PublicExtension],
		Encryption: data[encryption.File],
	}
	for _, a := range read.authorities() {
		loaded, err := pki.LoadAuthority(pki.Pair{Cert: data[a.name+CertExtension], Key: data[a.name+KeyExtension]})
		if err != nil {
			return nil, errclass.Errorf(errclass.Permanent, "reading authority %q: %w", a.name, err)
		}
		*a.field = loaded
	}
	if len(read.SigningPrivate) == 0 || len(read.SigningPublic) == 0 {
		return nil, errclass.Errorf(errclass.Permanent, "reading the key for service accounts: %q or %q is missing",
			SigningKey+KeyExtension, SigningKey+PublicExtension)
	}
	return read, nil
}

// Data returns the keys as Secret <cluster>-pki holds them.
func (k *Keys) Data() map[string][]byte {
	data := map[string][]byte{
		SigningKey + KeyExtension:    k.SigningPrivate,
		SigningKey + PublicExtension: k.SigningPublic,
	}
	for _, a := range k.authorities() {
		data[a.name+CertExtension], data[a.name+KeyExtension] = (*a.field).Cert, (*a.field).Key
	}
	if len(k.Encryption) > 0 {
		data[encryption.File] = k.Encryption
	}
	return data
}

// CAHash returns the pin of the cluster's authority, "sha256:" and the digest of its public key, as kubeadm's
// --discovery-token-ca-cert-hash takes it.
func (k *Keys) CAHash() (string, error) {
	digest, err := pki.PublicKeyDigest(k.Cluster.Cert)
	return "sha256:" + digest, err
}
