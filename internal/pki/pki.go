// Package pki makes certificate authorities, signs certificates with them, and checks certificates that exist. It
// stores nothing: keys are its callers' business, and no key is ever part of an error.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	// AuthorityLife is how long an authority holds, as kubeadm's do.
	AuthorityLife = 10 * 365 * 24 * time.Hour
	// LeafLife is how long a certificate that an authority signs holds.
	LeafLife = 365 * 24 * time.Hour
	// renewWithin is how long before its end a certificate is to be renewed.
	renewWithin = 90 * 24 * time.Hour
	// backdate allows for clocks that are behind the one that signs.
	backdate = 5 * time.Minute
)

// Pair is a certificate and its private key, PEM.
type Pair struct {
	Cert, Key []byte
}

// Authority signs certificates.
type Authority struct {
	Pair
	cert *x509.Certificate
	key  crypto.Signer
}

// Leaf describes a certificate that an authority signs.
type Leaf struct {
	CommonName    string
	Organizations []string
	// Hosts are DNS names and IP addresses.
	Hosts []string
	// Usages beyond digital signature: x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth.
	Usages []x509.ExtKeyUsage
	// Life is how long it holds. Default LeafLife.
	Life time.Duration
}

// NewAuthority makes an authority with a key of its own, ECDSA P-256.
func NewAuthority(commonName string, now time.Time) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("making the key of authority %q: %w", commonName, err)
	}
	template, err := newTemplate(pkix.Name{CommonName: commonName}, now, AuthorityLife)
	if err != nil {
		return nil, fmt.Errorf("making authority %q: %w", commonName, err)
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.DNSNames = []string{commonName}
	pair, err := sign(template, template, key.Public(), key, key)
	if err != nil {
		return nil, fmt.Errorf("making authority %q: %w", commonName, err)
	}
	return LoadAuthority(pair)
}

// LoadAuthority reads an authority that was made before. Any key type that x509 signs with will do.
func LoadAuthority(pair Pair) (*Authority, error) {
	cert, err := parseCert(pair.Cert)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("certificate %q is not of an authority", cert.Subject.CommonName)
	}
	key, err := parseKey(pair.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the key of authority %q: %w", cert.Subject.CommonName, err)
	}
	if !matches(cert, key) {
		return nil, fmt.Errorf("the key of authority %q belongs to another certificate", cert.Subject.CommonName)
	}
	return &Authority{Pair: pair, cert: cert, key: key}, nil
}

// Issue signs a certificate with a key of its own. It never outlives the authority.
func (a *Authority) Issue(leaf Leaf, now time.Time) (Pair, error) {
	key, err := newKey()
	if err != nil {
		return Pair{}, fmt.Errorf("making the key of certificate %q: %w", leaf.CommonName, err)
	}
	life := leaf.Life
	if life == 0 {
		life = LeafLife
	}
	template, err := newTemplate(pkix.Name{CommonName: leaf.CommonName, Organization: leaf.Organizations}, now, life)
	if err != nil {
		return Pair{}, fmt.Errorf("making certificate %q: %w", leaf.CommonName, err)
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, leaf.Usages
	template.DNSNames, template.IPAddresses = split(leaf.Hosts)
	pair, err := sign(template, a.cert, key.Public(), a.key, key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing certificate %q: %w", leaf.CommonName, err)
	}
	return pair, nil
}

// Worn returns the reason why pair has to be renewed for leaf. It is "" when pair was signed by this authority, names
// exactly these subjects and hosts, belongs to its key, and holds for longer than renewWithin.
func (a *Authority) Worn(pair Pair, leaf Leaf, now time.Time) string {
	cert, unfit := fit(a.cert, pair, leaf)
	switch {
	case unfit != "":
		return unfit
	case now.Add(renewWithin).After(cert.NotAfter) && cert.NotAfter.Before(a.cert.NotAfter):
		return "it ends on " + cert.NotAfter.UTC().Format(time.DateOnly)
	case now.After(cert.NotAfter):
		return "it ended on " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	return ""
}

// Fit returns the end of pair, or the reason why it does not fit leaf: it must be signed by the authority whose
// certificate is given, for exactly these subjects and hosts, with its own key.
func Fit(authority []byte, pair Pair, leaf Leaf) (ends time.Time, unfit string) {
	by, err := parseCert(authority)
	if err != nil {
		return time.Time{}, "its authority can't be read"
	}
	cert, unfit := fit(by, pair, leaf)
	if unfit != "" {
		return time.Time{}, unfit
	}
	return cert.NotAfter, ""
}

// fit returns the certificate of pair, or the reason why it does not fit leaf. It does not look at the time.
func fit(authority *x509.Certificate, pair Pair, leaf Leaf) (*x509.Certificate, string) {
	cert, err := parseCert(pair.Cert)
	if err != nil {
		return nil, "there is none"
	}
	key, err := parseKey(pair.Key)
	names, addresses := split(leaf.Hosts)
	switch {
	case err != nil || !matches(cert, key):
		return nil, "its key is not its own"
	case cert.CheckSignatureFrom(authority) != nil:
		return nil, "another authority signed it"
	case cert.Subject.CommonName != leaf.CommonName || !sameSet(cert.Subject.Organization, leaf.Organizations):
		return nil, "it is for another subject"
	case !sameSet(cert.DNSNames, names) || !sameSet(texts(cert.IPAddresses), texts(addresses)):
		return nil, "it is for other addresses"
	case !sameSet(cert.ExtKeyUsage, leaf.Usages):
		return nil, "it is for another use"
	}
	return cert, ""
}

// Request makes a key, and a certificate signing request for it, both PEM.
func Request(leaf Leaf) (request, key []byte, err error) {
	made, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("making the key of certificate %q: %w", leaf.CommonName, err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{
		CommonName:   leaf.CommonName,
		Organization: leaf.Organizations,
	}}
	template.DNSNames, template.IPAddresses = split(leaf.Hosts)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, made)
	if err != nil {
		return nil, nil, fmt.Errorf("requesting certificate %q: %w", leaf.CommonName, err)
	}
	key, err = encodeKey(made)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), key, err
}

// NotAfter is when the authority ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Expiry is when a certificate ends.
func Expiry(certificate []byte) (time.Time, error) {
	cert, err := parseCert(certificate)
	if err != nil {
		return time.Time{}, err
	}
	return cert.NotAfter, nil
}

// NewSigningKey makes the key pair that service-account tokens are signed with: the private key, and the public one.
func NewSigningKey() (private, public []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("making a signing key: %w", err)
	}
	if private, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// newKey draws a private key.
//
//nolint:wrapcheck // Its callers name what the key is for.
func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// serialBits is how long serial numbers are; RFC 5280 allows 20 bytes.
const serialBits = 127

func newTemplate(subject pkix.Name, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      subject,
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(life),
	}, nil
}

// sign makes a certificate for public and returns it with own, the private key that belongs to it.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer,
	own *ecdsa.PrivateKey,
) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return Pair{}, err //nolint:wrapcheck // Its callers name the certificate.
	}
	key, err := encodeKey(own)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: key}, nil
}

// encodeKey writes SEC 1, which every Kubernetes component reads, also for service accounts.
func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, errors.New("encoding a private key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("reading a certificate: it is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	return cert, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("reading a private key: it is not PEM")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if signer, ok := parsed.(crypto.Signer); ok && err == nil {
		return signer, nil
	}
	return nil, errors.New("reading a private key: unknown kind of key")
}

func matches(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func split(hosts []string) (names []string, addresses []net.IP) {
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
			continue
		}
		names = append(names, host)
	}
	return names, addresses
}

func texts(addresses []net.IP) []string {
	var list []string
	for _, address := range addresses {
		list = append(list, address.String())
	}
	return list
}

func sameSet[T comparable](a, b []T) bool {
	return subset(a, b) && subset(b, a)
}

func subset[T comparable](a, b []T) bool {
	return !slices.ContainsFunc(a, func(item T) bool { return !slices.Contains(b, item) })
}

// PublicKeyDigest is the SHA-256 of a certificate's public key, hex, by which kubeadm pins an authority.
func PublicKeyDigest(certificate []byte) (string, error) {
	cert, err := parseCert(certificate)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}
