package spread

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"

	node "argosy.dev/argosy/pkg/node/spread"
)

// authority signs the certificates of one run. Package pki has keys of another kind, see node/spread.Credentials.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// certificateLife bounds a run: a machine that joins later gets a certificate of its own.
const certificateLife = 24 * time.Hour

// backdate allows for clocks that are behind the plugin's.
const backdate = 5 * time.Minute

// newAuthority makes an authority, whose key is in memory alone.
func newAuthority(now time.Time) (*authority, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the run's authority: %w", err)
	}
	template, err := certificate("argosy-run", now, 2*certificateLife)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, fmt.Errorf("making the run's authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the run's authority: %w", err)
	}
	return &authority{cert, key}, nil
}

// issue makes the credentials of a machine, for these uses.
func (a *authority) issue(name string, now time.Time, usages ...x509.ExtKeyUsage) (*node.Credentials, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of machine %q: %w", name, err)
	}
	template, err := certificate(name, now, certificateLife)
	if err != nil {
		return nil, err
	}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, usages
	if address := net.ParseIP(name); address != nil {
		template.IPAddresses = []net.IP{address}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of machine %q: %w", name, err)
	}
	return &node.Credentials{CA: a.cert.Raw, Certificate: der, Key: key.Seed()}, nil
}

// certificate returns a certificate that holds from now on.
func certificate(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making the number of a certificate: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
	}, nil
}
