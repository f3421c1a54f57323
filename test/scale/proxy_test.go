package scale

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// proxy is a way to the API server that counts requests, and that can be closed as if the server were away.
type proxy struct {
	address  string
	handler  http.Handler
	config   *tls.Config
	requests atomic.Int64

	mu     sync.Mutex
	server *http.Server
}

// newProxy serves on an address, with a certificate by the authority that the API server's is of.
func newProxy(t *testing.T, address, target string, authority []byte, certificate tls.Certificate) *proxy {
	t.Helper()
	pool := x509.NewCertPool()
	assert.Assert(t, pool.AppendCertsFromPEM(authority))
	to, err := url.Parse(target)
	assert.NilError(t, err)
	reverse := httputil.NewSingleHostReverseProxy(to)
	reverse.FlushInterval = -1 // watches
	reverse.Transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100,
	}
	reverse.ErrorLog = log.New(io.Discard, "", 0)
	p := &proxy{address: address, config: &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"},
	}}
	p.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		reverse.ServeHTTP(w, r)
	})
	p.open(t)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) open(t testing.TB) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", p.address)
	assert.NilError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = &http.Server{
		Handler: p.handler, TLSConfig: p.config, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server := p.server
	go func() { _ = server.ServeTLS(listener, "", "") }()
}

// close ends all connections, and refuses others until open.
func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.server.Close()
}
