//go:build full

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
)

// hostAddress is this computer's own address on the lab's network.
const hostAddress = "10.117.0.1"

// testRegistry is a registry server of a test, with image web:v1.
type testRegistry struct {
	// address is host:port.
	address string
	asked   atomic.Int64
}

// registryOptions set how a registry is reached: with TLS, behind a login, below a path.
type registryOptions struct {
	certificate *tls.Certificate
	// login wraps the registry's handler.
	login func(http.Handler) http.Handler
	// prefix comes before /v2/ in paths.
	prefix string
}

// startRegistry starts a registry that ends with the test.
func startRegistry(t *testing.T, of registryOptions) *testRegistry {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	listener, err := net.Listen("tcp", hostAddress+":0")
	assert.NilError(t, err)
	d := &testRegistry{address: listener.Addr().String()}
	// The image is pushed to an address without logins and certificates.
	behind, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	inside := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = inside.Serve(behind) }()
	copyWebImage(t, behind.Addr().String())
	assert.NilError(t, inside.Close())

	withLogin := handler
	if of.login != nil {
		withLogin = of.login(withLogin)
	}
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.asked.Add(1)
		if of.prefix != "" && !strings.HasPrefix(r.URL.Path, of.prefix+"/") {
			http.NotFound(w, r)
			return
		}
		http.StripPrefix(of.prefix, withLogin).ServeHTTP(w, r)
	})
	outside := &http.Server{Handler: counted, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	t.Cleanup(func() { _ = outside.Close() })
	go func() {
		if of.certificate == nil {
			_ = outside.Serve(listener)
			return
		}
		_ = outside.Serve(tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{*of.certificate},
			MinVersion:   tls.VersionTLS12,
		}))
	}()
	return d
}

// copyWebImage pushes the lab's web image to a registry.
func copyWebImage(t *testing.T, address string) {
	t.Helper()
	from, err := name.ParseReference(lab.RegistryAddress+"/web:v1", name.Insecure)
	assert.NilError(t, err)
	image, err := remote.Image(from, remote.WithContext(t.Context()))
	assert.NilError(t, err)
	to, err := name.ParseReference(address+"/web:v1", name.Insecure)
	assert.NilError(t, err)
	assert.NilError(t, remote.Write(to, image, remote.WithContext(t.Context())))
}

// password must not be found in files that others may read.
const password = "s3cret-of-the-registry"

// basicLogin requires a user and a password.
func basicLogin(inside http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, given, _ := r.BasicAuth(); user != "lab" || given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inside.ServeHTTP(w, r)
	})
}

// tokenLogin gives an access token in return for an identity token, as in OAuth 2.
func tokenLogin(inside http.Handler) http.Handler {
	const access = "access-for-an-hour"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/token" && r.Method == http.MethodPost:
			if r.FormValue("grant_type") != "refresh_token" || r.FormValue("refresh_token") != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token": "`+access+`", "expires_in": 3600}`)
		case r.Header.Get("Authorization") != "Bearer "+access:
			w.Header().Set("WWW-Authenticate",
				fmt.Sprintf(`Bearer realm="http://%s/v2/token",service="lab",scope="repository:web:pull"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inside.ServeHTTP(w, r)
		}
	})
}

// authority signs certificates for this computer.
type authority struct {
	pem         string
	certificate *tls.Certificate
}

// newAuthority makes a certificate authority and a certificate of it for hostAddress.
func newAuthority(t *testing.T) authority {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's own"},
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	assert.NilError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(hostAddress)},
	}
	signedLeaf, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	assert.NilError(t, err)
	return authority{
		pem:         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})),
		certificate: &tls.Certificate{Certificate: [][]byte{signedLeaf}, PrivateKey: key},
	}
}
