package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/secret"
)

func TestBundleServeServesWhatTheFullImageHolds(t *testing.T) {
	folder := t.TempDir()
	content := []byte("a node bundle")
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "kubernetes-v1.34.4-amd64.tar.gz"), content, 0o600))

	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abcdef.0123456789abcdef" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()
	certFile, keyFile := writeTLS(t, api)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	address := listener.Addr().String()
	assert.NilError(t, listener.Close())

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		root := rootCommand()
		root.SetArgs([]string{
			"bundle", "serve", "--folder", folder, "--listen", address,
			"--tls-cert", certFile, "--tls-key", keyFile, "--api-server", api.URL, "--ca", certFile,
		})
		root.SetErr(&strings.Builder{})
		ended <- root.ExecuteContext(ctx)
	}()
	repository := &bundle.Repository{
		URL: "https://" + address, HTTP: api.Client(),
		Token: secret.New("abcdef.0123456789abcdef"),
	}
	found, err := repository.Locate(t.Context(), "v1.34.4", "amd64")
	for err != nil && t.Context().Err() == nil { // it is starting
		found, err = repository.Locate(t.Context(), "v1.34.4", "amd64")
	}
	assert.NilError(t, err)
	sum := sha256.Sum256(content)
	assert.Equal(t, found.SHA256, hex.EncodeToString(sum[:]))
	cancel()
	assert.NilError(t, <-ended)
}

// writeTLS writes a test server's own certificate, which is its authority too, and key.
func writeTLS(t *testing.T, server *httptest.Server) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	assert.NilError(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: own.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		assert.NilError(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
	}
	return certFile, keyFile
}

func TestBundleServeNeedsItsFiles(t *testing.T) {
	_, code, err := run(t, "bundle", "serve")
	assert.ErrorContains(t, err, "--tls-cert, --tls-key and --ca are required")
	assert.Equal(t, code, program.ExitConfiguration)
	_, code, err = run(t, "bundle", "serve", "--ca", "/none/ca", "--tls-cert", "/none/cert", "--tls-key", "/none/key")
	assert.ErrorContains(t, err, "/none/ca")
	assert.Equal(t, code, program.ExitConfiguration)
}
