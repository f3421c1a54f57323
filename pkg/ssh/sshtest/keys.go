// Package sshtest gives tests SSH servers to talk to: a simulated one that lives in the test's own process and runs
// real commands through /bin/sh, OpenSSH's real sshd on a free port of 127.0.0.1, and a network between that can be
// cut. It is for tests alone.
package sshtest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// Key is a key pair for a user, a host or an authority.
type Key struct {
	Signer  ssh.Signer
	private crypto.Signer
}

// NewKey makes an ed25519 key.
func NewKey(t testing.TB) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	return KeyOf(t, private)
}

// KeyOf wraps a key of whatever type.
func KeyOf(t testing.TB, private crypto.Signer) Key {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatalf("making a signer: %v", err)
	}
	return Key{Signer: signer, private: private}
}

// PEM is the private key in OpenSSH's format, encrypted when passphrase is not empty.
func (k Key) PEM(t testing.TB, passphrase string) string {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(k.private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(k.private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatalf("encoding a private key: %v", err)
	}
	return string(pem.EncodeToMemory(block))
}

// Line is the public key as one line of authorized_keys.
func (k Key) Line() string { return line(k.Signer.PublicKey()) }

// Fingerprint returns the fingerprint as OpenSSH shows it: "SHA256:…".
func (k Key) Fingerprint() string { return ssh.FingerprintSHA256(k.Signer.PublicKey()) }

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// Certificate holds the fields that an authority signs.
type Certificate struct {
	Kind       uint32 // ssh.UserCert or ssh.HostCert
	Principals []string
	// From and Until; zero values mean an hour ago and in an hour.
	From, Until time.Time
}

// Certify signs of with authority k.
func (k Key) Certify(t testing.TB, of Key, c Certificate) *ssh.Certificate {
	t.Helper()
	if c.From.IsZero() {
		c.From = time.Now().Add(-time.Hour)
	}
	if c.Until.IsZero() {
		c.Until = time.Now().Add(time.Hour)
	}
	certificate := &ssh.Certificate{
		Key: of.Signer.PublicKey(), CertType: c.Kind, KeyId: "test", ValidPrincipals: c.Principals,
		ValidAfter: uint64(c.From.Unix()), ValidBefore: uint64(c.Until.Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "permit-port-forwarding": ""}},
	}
	if err := certificate.SignCert(rand.Reader, k.Signer); err != nil {
		t.Fatalf("signing a certificate: %v", err)
	}
	return certificate
}

// CertificateLine is a certificate as one line, as in id_ed25519-cert.pub.
func CertificateLine(certificate *ssh.Certificate) string { return line(certificate) }
