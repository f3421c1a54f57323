package spread

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// authority is that of one run.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	der, key := sign(t, "argosy-run", nil)
	cert, err := x509.ParseCertificate(der)
	assert.NilError(t, err)
	return authority{cert, key}
}

// sign makes a certificate of an authority, or an authority's own.
func sign(t testing.TB, name string, by *authority, usages ...x509.ExtKeyUsage) ([]byte, ed25519.PrivateKey) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: usages, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	} else {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	assert.NilError(t, err)
	return der, key
}

// credentials are a machine's, for these uses; both where there is none.
func (a authority) credentials(t testing.TB, name string, usages ...x509.ExtKeyUsage) *Credentials {
	t.Helper()
	if len(usages) == 0 {
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	der, key := sign(t, name, &a, usages...)
	return &Credentials{CA: a.cert.Raw, Certificate: der, Key: key.Seed(), Host: "127.0.0.1"}
}

// serving is a server with one piece, beside a secret that no piece has.
type serving struct {
	*server
	authority authority
	digest    string
	address   string
}

// theSecret surrounds the piece in its file.
const theSecret = "root:$6$secret"

func serve(t testing.TB) serving {
	t.Helper()
	run := newAuthority(t)
	s, err := newServer(run.credentials(t, "m1"), map[string]location{})
	assert.NilError(t, err)
	t.Cleanup(func() { s.close() })
	file, err := os.Create(filepath.Join(t.TempDir(), "pieces"))
	assert.NilError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	_, err = file.WriteString(theSecret + "piece" + theSecret)
	assert.NilError(t, err)
	digest := digestOf([]byte("piece"))
	s.add(digest, location{file: file, offset: int64(len(theSecret)), length: 5})
	return serving{s, run, digest, fmt.Sprintf("127.0.0.1:%d", s.port)}
}

// dial connects with credentials, or without a certificate.
func (s serving) dial(t testing.TB, with *Credentials) (*tls.Conn, error) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.authority.cert)
	config := &tls.Config{RootCAs: roots, ServerName: "m1", MinVersion: tls.VersionTLS12}
	if with != nil {
		identity, _, err := with.parse()
		assert.NilError(t, err)
		config.Certificates = []tls.Certificate{identity}
	}
	return tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", s.address, config)
}

// send sends bytes and returns the answer, until the server ends the connection or is silent for a moment.
func (s serving) send(t testing.TB, with *Credentials, request string) (string, error) {
	t.Helper()
	connection, err := s.dial(t, with)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(connection, request); err != nil {
		return "", err
	}
	if err := connection.CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(connection)
	return string(answer), err
}

// thePiece is the answer with the piece.
const thePiece = "\x01\x00\x00\x00\x00\x00\x00\x00\x05piece"

func TestMachineOfTheRunGetsAPieceByItsDigest(t *testing.T) {
	s := serve(t)
	answer, err := s.send(t, s.authority.credentials(t, "m2"), s.digest+"\n"+s.digest+"\n")
	assert.NilError(t, err)
	assert.Equal(t, answer, thePiece+thePiece)
}

func TestConnectionWithoutACertificateOfTheRunIsRefused(t *testing.T) {
	s := serve(t)
	for name, credentials := range map[string]*Credentials{
		"none":                      nil,
		"of another run":            newAuthority(t).credentials(t, "m2"),
		"of a server alone":         s.authority.credentials(t, "m2", x509.ExtKeyUsageServerAuth),
		"of another run, same name": newAuthority(t).credentials(t, "m1"),
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := s.send(t, credentials, s.digest+"\n")
			assert.Assert(t, err != nil, "it answered %q", answer)
			assert.Equal(t, answer, "")
		})
	}
}

func TestOnlyPiecesByDigestAreServed(t *testing.T) {
	s := serve(t)
	with := s.authority.credentials(t, "m2")
	up := strings.Repeat("../", 18) + "etc/shadow"
	for _, name := range []string{
		strings.Repeat("0", 64), strings.ToUpper(s.digest), "../" + s.digest[3:], "/" + s.digest[1:],
		up[:64], up[len(up)-64:], s.digest[:63] + "/", s.digest[:63] + "\x00", strings.Repeat("\n", 64),
		s.digest[:60] + "%00a",
	} {
		assert.Equal(t, len(name), 64)
		answer, err := s.send(t, with, name+"\n")
		assert.NilError(t, err, "%q", name)
		assert.Equal(t, answer, "\x02", "%q", name)
	}
	for _, request := range []string{
		"", "\n", s.digest, s.digest + "0", "GET /pieces/" + s.digest + " HTTP/1.1\r\n\r\n", s.digest + "/etc/shadow\n",
		strings.Repeat("x", 1<<16),
	} {
		answer, _ := s.send(t, with, request)
		assert.Equal(t, answer, "", "%.70q", request)
	}
}

func TestNothingCanBeWritten(t *testing.T) {
	s := serve(t)
	with := s.authority.credentials(t, "m2")
	for _, request := range []string{
		"PUT " + s.digest + "\nother", s.digest + "\n" + thePiece + strings.Repeat("z", 100), thePiece,
	} {
		_, _ = s.send(t, with, request)
	}
	answer, err := s.send(t, with, s.digest+"\n")
	assert.NilError(t, err)
	assert.Equal(t, answer, thePiece)
}

func TestServingEndsWithTheOperation(t *testing.T) {
	s := serve(t)
	with := s.authority.credentials(t, "m2")
	connection, err := s.dial(t, with)
	assert.NilError(t, err)
	defer connection.Close()
	s.close()
	_, err = io.WriteString(connection, s.digest+"\n")
	if err == nil {
		_, err = connection.Read(make([]byte, 1))
	}
	assert.Assert(t, err != nil, "an open connection ends")
	_, err = s.dial(t, with)
	assert.Assert(t, err != nil, "no new one is made")
}

func TestUploadsAreBounded(t *testing.T) {
	s := serve(t)
	for range maxUploads {
		s.uploads <- struct{}{}
	}
	answer, err := s.send(t, s.authority.credentials(t, "m2"), s.digest+"\n")
	assert.NilError(t, err)
	assert.Equal(t, answer, "\x03")
	assert.Equal(t, s.limiter.rate, serveRate)
}

func TestMachineFetchesFromNoOtherRun(t *testing.T) {
	s := serve(t)
	client, err := newPeers(newAuthority(t).credentials(t, "m2"))
	assert.NilError(t, err)
	_, err = client.fetch(t.Context(), Fetch{SHA256: s.digest, Peer: "m1", Address: s.address}, 5)
	assert.ErrorContains(t, err, "certificate")
	client, err = newPeers(s.authority.credentials(t, "m2"))
	assert.NilError(t, err)
	_, err = client.fetch(t.Context(), Fetch{SHA256: s.digest, Peer: "m3", Address: s.address}, 5)
	assert.ErrorContains(t, err, "certificate is valid for m1, not m3")
	for range 2 {
		piece, err := client.fetch(t.Context(), Fetch{SHA256: s.digest, Peer: "m1", Address: s.address}, 5)
		assert.NilError(t, err)
		assert.Equal(t, string(piece), "piece")
	}
	_, err = client.fetch(t.Context(), Fetch{SHA256: s.digest, Peer: "m1", Address: s.address}, 4)
	assert.ErrorIs(t, err, errCorrupt)
	_, err = client.fetch(t.Context(), Fetch{SHA256: strings.Repeat("0", 64), Peer: "m1", Address: s.address}, 5)
	assert.ErrorContains(t, err, "it does not have the piece")
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	credentials := newAuthority(t).credentials(t, "m1")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.Equal(t, fmt.Sprintf(format, *credentials), "[redacted]", format)
	}
}

// FuzzServer sends whatever a machine of the run may send: no other bytes than the piece's are ever in an answer.
func FuzzServer(f *testing.F) {
	s := serve(f)
	with := s.authority.credentials(f, "m2")
	f.Add(s.digest + "\n")
	f.Add(strings.Repeat("../", 21) + "a\n")
	f.Add("GET /etc/shadow HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, request string) {
		answer, err := s.send(t, with, request)
		if err != nil {
			t.Skip(err)
		}
		rest := strings.NewReplacer(thePiece, "", "\x02", "").Replace(answer)
		assert.Equal(t, rest, "", "%q: %q", request, answer)
	})
}
