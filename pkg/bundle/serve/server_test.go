package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/secret"
)

// pair is a certificate that signed itself.
type pair struct{ pem, key []byte }

func selfSigned(t *testing.T, address string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	assert.NilError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	assert.NilError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	assert.NilError(t, err)
	return pair{
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

func (p pair) write(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	assert.NilError(t, os.WriteFile(certFile, p.pem, 0o600))
	assert.NilError(t, os.WriteFile(keyFile, p.key, 0o600))
	return certFile, keyFile
}

// start runs a server for the folder and gives its URL; it must have ended when the test does.
func start(t *testing.T, folder string, authorizer Authorizer, certificate *Certificate) (url string,
	end func() error,
) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, listener, New(folder, authorizer, quiet), certificate, quiet) }()
	end = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() { assert.NilError(t, end()) })
	return "https://" + listener.Addr().String(), end
}

func TestAMachineFetchesItsBundleAsFromAnyRepository(t *testing.T) {
	api := startAPIServer(t, http.StatusOK)
	own := selfSigned(t, "127.0.0.1")
	certFile, keyFile := own.write(t, t.TempDir())
	certificate, err := LoadCertificate(certFile, keyFile, quiet)
	assert.NilError(t, err)
	url, _ := start(t, bundleFolder(t), api.authorizer(t), certificate)

	repository := &bundle.Repository{URL: url, CACert: own.pem, Token: secret.New("abcdef.0123456789abcdef")}
	found, err := repository.Locate(t.Context(), "v1.34.4", "amd64")
	for err != nil && strings.Contains(err.Error(), "503") { // the digests are being computed
		found, err = repository.Locate(t.Context(), "v1.34.4", "amd64")
	}
	assert.NilError(t, err)
	assert.Equal(t, found.SHA256, amd64Sum)
	assert.Equal(t, found.Size, int64(10))
	body, err := repository.Open(t.Context(), found, 4)
	assert.NilError(t, err)
	rest, err := io.ReadAll(body)
	assert.NilError(t, err)
	assert.NilError(t, body.Close())
	assert.Equal(t, string(rest), "456789")

	_, err = (&bundle.Repository{URL: url, CACert: own.pem}).Locate(t.Context(), "v1.34.4", "amd64")
	assert.ErrorContains(t, err, "401")
}

func TestARenewedCertificateIsServedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	first, second := selfSigned(t, "127.0.0.1"), selfSigned(t, "127.0.0.1")
	certFile, keyFile := first.write(t, dir)
	certificate, err := LoadCertificate(certFile, keyFile, quiet)
	assert.NilError(t, err)
	url, _ := start(t, bundleFolder(t), fakeAuthorizer{}, certificate)
	trusts := func(p pair) error {
		pool := x509.NewCertPool()
		assert.Assert(t, pool.AppendCertsFromPEM(p.pem))
		connection, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: pool})
		if err == nil {
			err = connection.Close()
		}
		return err
	}
	assert.NilError(t, trusts(first))

	// Half of the new pair: the former one goes on.
	later := time.Now().Add(time.Hour)
	assert.NilError(t, os.WriteFile(certFile, second.pem, 0o600))
	assert.NilError(t, os.Chtimes(certFile, later, later))
	assert.NilError(t, trusts(first))

	second.write(t, dir)
	assert.NilError(t, trusts(second))
	assert.ErrorContains(t, trusts(first), "certificate")

	assert.NilError(t, os.Remove(keyFile))
	assert.NilError(t, trusts(second))
}

func TestCertificateThatDoesNotMatchItsKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := selfSigned(t, "127.0.0.1").write(t, dir)
	assert.NilError(t, os.WriteFile(keyFile, selfSigned(t, "127.0.0.1").key, 0o600))
	_, err := LoadCertificate(certFile, keyFile, quiet)
	assert.ErrorContains(t, err, "reading the serving certificate")
	_, err = LoadCertificate(filepath.Join(dir, "none"), keyFile, quiet)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestTheServerEndsWhileADownloadHangs(t *testing.T) {
	dir := t.TempDir()
	// More than fits into the buffers of a connection without a reader.
	assert.NilError(t, os.WriteFile(filepath.Join(dir, amd64Bundle), bytes.Repeat([]byte("x"), 64<<20), 0o644))
	own := selfSigned(t, "127.0.0.1")
	certFile, keyFile := own.write(t, t.TempDir())
	certificate, err := LoadCertificate(certFile, keyFile, quiet)
	assert.NilError(t, err)
	url, end := start(t, dir, fakeAuthorizer{token: "abc"}, certificate)

	pool := x509.NewCertPool()
	assert.Assert(t, pool.AppendCertsFromPEM(own.pem))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1.34.4/"+amd64Bundle, nil)
	assert.NilError(t, err)
	request.Header.Set("Authorization", "Bearer abc")
	response, err := client.Do(request)
	assert.NilError(t, err)
	defer response.Body.Close()
	assert.NilError(t, end())
	_, err = io.Copy(io.Discard, response.Body)
	assert.Assert(t, err != nil, "the download was cut off")
}
