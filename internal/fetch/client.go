// Package fetch reads files from HTTP(S) servers, from any byte on. The class of each error tells whether another
// attempt can help. It never retries by itself, never keeps a file in memory, and always verifies TLS.
package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// defaultStall is how long a download may bring nothing before it counts as lost.
const defaultStall = time.Minute

// Client reads files. The zero value is ready; a Client is safe for concurrent use and must not be copied. Errors have
// a class: a missing file needs a change by the user (configuration), a server that did not answer may answer later
// (transient).
type Client struct {
	// CACert holds certificate authorities to trust beside the system's, PEM. May be empty.
	CACert []byte
	// Token is sent as a bearer token when set; a redirect to another host does not get it.
	Token secret.Value
	// Renew returns another Token when the server has refused the one of now, which may have expired; nil for none. It
	// is asked once for a request.
	Renew func(ctx context.Context) (secret.Value, error)
	// Stall is how long a download may bring nothing before it counts as lost. Default 1m.
	Stall time.Duration
	// HTTP sends the requests when set; CACert is then not looked at.
	HTTP *http.Client

	// mu guards renewed, the Token that Renew returned last.
	mu      sync.Mutex
	renewed secret.Value

	setup    sync.Once
	client   *http.Client
	setupErr error
}

// Version of a file on a server, as far as the headers of an answer tell. Two equal Versions are the same bytes, as
// long as the server sends an entity tag or a date.
type Version struct {
	URL, ETag, Modified string
	// Size in bytes, 0 when the server does not send it.
	Size int64
}

// Stat asks for a file's size without fetching it. Servers that do not answer HEAD (or sign their URLs for GET alone)
// are asked for the first byte.
func (c *Client) Stat(ctx context.Context, address string) (Version, error) {
	response, err := c.send(ctx, http.MethodHead, address, -1)
	var status *StatusError
	if errors.As(err, &status) && (status.Code == http.StatusMethodNotAllowed ||
		status.Code == http.StatusNotImplemented || status.Code == http.StatusForbidden) {
		response, err = c.send(ctx, http.MethodGet, address, 0)
	}
	if err != nil {
		return Version{}, err
	}
	_ = response.Body.Close()
	size := max(response.ContentLength, 0)
	if response.StatusCode == http.StatusPartialContent {
		_, size = contentRange(response)
	}
	return Version{
		URL: address, Size: size,
		ETag: response.Header.Get("ETag"), Modified: response.Header.Get("Last-Modified"),
	}, nil
}

// Open reads a file from offset on; size is the size of the whole file, or 0 when it is unknown. A server without
// ranges sends the whole file, and the part before offset is read and dropped. Errors while reading have a class too.
func (c *Client) Open(ctx context.Context, address string, offset, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	first := int64(-1)
	if offset > 0 {
		first = offset
	}
	response, err := c.send(ctx, http.MethodGet, address, first)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	arriving := &body{ctx: ctx, cancel: cancel, body: response.Body, url: address, stall: c.stall()}
	if err := arriving.skipTo(response, offset, size); err != nil {
		_ = arriving.Close()
		return nil, err
	}
	return arriving, nil
}

// Text reads a small file whole. A file with more than most bytes is an error.
func (c *Client) Text(ctx context.Context, address string, most int64) ([]byte, error) {
	arriving, err := c.Open(ctx, address, 0, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = arriving.Close() }()
	text, err := io.ReadAll(io.LimitReader(arriving, most+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", address, err)
	}
	if int64(len(text)) > most {
		return nil, errclass.Errorf(errclass.Configuration, "reading %q: it has more than %d bytes", address, most)
	}
	return text, nil
}

func (c *Client) stall() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return defaultStall
}

// send makes one request, and another one where the token was refused and renewed; first is the first byte wanted, or
// -1 for no range; 0 asks for a single byte.
func (c *Client) send(ctx context.Context, method, address string, first int64) (*http.Response, error) {
	token := c.token()
	response, err := c.sendOnce(ctx, method, address, first, token)
	var status *StatusError
	if c.Renew == nil || !errors.As(err, &status) || status.Code != http.StatusUnauthorized {
		return response, err
	}
	if token, err = c.renew(ctx, token); err != nil {
		return nil, fmt.Errorf("renewing the token for %q: %w", address, err)
	}
	return c.sendOnce(ctx, method, address, first, token)
}

func (c *Client) token() secret.Value {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.renewed.Empty() {
		return c.renewed
	}
	return c.Token
}

// renew returns the token after one that was refused, which another request may have renewed already.
func (c *Client) renew(ctx context.Context, refused secret.Value) (secret.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.renewed.Empty() && c.renewed != refused {
		return c.renewed, nil
	}
	token, err := c.Renew(ctx)
	if err == nil {
		c.renewed = token
	}
	return token, err
}

func (c *Client) sendOnce(ctx context.Context, method, address string, first int64,
	token secret.Value,
) (*http.Response, error) {
	c.prepare()
	if c.setupErr != nil {
		return nil, c.setupErr
	}
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "requesting %q: %w", address, err)
	}
	// Unless told otherwise, net/http unpacks a .tar.gz that a server calls gzip-encoded, and the digest is then
	// another.
	request.Header.Set("Accept-Encoding", "identity")
	if !token.Empty() {
		request.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	switch {
	case first == 0:
		request.Header.Set("Range", "bytes=0-0")
	case first > 0:
		request.Header.Set("Range", "bytes="+strconv.FormatInt(first, 10)+"-")
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, requestError(ctx, err)
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent {
		return response, nil
	}
	_ = response.Body.Close()
	status := &StatusError{URL: address, Code: response.StatusCode}
	return nil, errclass.With(status.class(), status)
}

// prepare makes the HTTP client of a zero Client.
func (c *Client) prepare() {
	c.setup.Do(func() {
		if c.client = c.HTTP; c.client == nil {
			c.client, c.setupErr = newHTTP(c.CACert)
		}
	})
}

func newHTTP(authorities []byte) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           sources.Dialer(10 * time.Second).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if len(bytes.TrimSpace(authorities)) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(authorities) {
			return nil, errclass.With(errclass.Configuration,
				errors.New("reading the certificate authorities to trust: they hold no PEM certificate"))
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}, nil
}
