package scale

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
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
	// byKind counts requests by method and resource, as "POST pods/eviction".
	byKind map[string]int
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
	p := &proxy{address: address, byKind: map[string]int{}, config: &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"},
	}}
	p.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		p.count(r)
		reverse.ServeHTTP(w, r)
	})
	p.open(t)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) count(r *http.Request) {
	words := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	words = words[min(len(words), 2):] // api/v1
	if len(words) > 0 && strings.HasPrefix(r.URL.Path, "/apis/") {
		words = words[1:]
	}
	if len(words) > 2 && words[0] == "namespaces" {
		words = words[2:]
	}
	kind := r.Method + " (discovery)"
	switch {
	case len(words) == 1 && r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		kind = "WATCH " + words[0]
	case len(words) == 1 && r.Method == http.MethodGet:
		kind = "LIST " + words[0]
	case len(words) == 3:
		kind = r.Method + " " + words[0] + "/" + words[2]
	case len(words) > 0:
		kind = r.Method + " " + words[0]
	}
	if strings.Contains(r.URL.RawQuery, "dryRun") {
		kind += " dry run"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byKind[kind]++
}

// counts returns the requests since the last call, by method and resource, those of which there are most first.
func (p *proxy) counts() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	kinds := slices.SortedFunc(maps.Keys(p.byKind), func(a, b string) int { return p.byKind[b] - p.byKind[a] })
	var all []string
	for _, kind := range kinds[:min(len(kinds), 12)] {
		all = append(all, fmt.Sprintf("%d %s", p.byKind[kind], kind))
	}
	p.byKind = map[string]int{}
	return strings.Join(all, ", ")
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
