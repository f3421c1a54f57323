package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node/spec"
)

// SumsFile lies beside the bundles of a version and holds their digests, as sha256sum writes them.
const SumsFile = "SHA256SUMS"

const (
	// maxSums bounds SHA256SUMS: a line takes some 100 bytes, and a version has a handful of bundles.
	maxSums = 1 << 20
	// defaultStall is how long a download may bring nothing before it counts as lost.
	defaultStall = time.Minute
)

// Repository is an HTTP(S) server that holds <version>/kubernetes-<version>-<arch>.<format> and, beside it, SHA256SUMS.
// It is safe for concurrent use. TLS is always verified. Errors have a class: what is not there is the user's to mend
// (configuration), what did not answer may answer later (transient).
type Repository struct {
	// URL below which the versions lie.
	URL string
	// CACert holds certificate authorities to trust beside the system's, PEM. May be empty.
	CACert []byte
	// Format is "tar.gz" or "tar.zst". Default tar.gz.
	Format string
	// SHA256 holds digests by file name, hex; they win over SHA256SUMS.
	SHA256 map[string]string
	// AllowUnverified accepts a bundle whose digest nobody published.
	AllowUnverified bool
	// Stall is how long a download may bring nothing before it counts as lost. Default 1m.
	Stall time.Duration
	// HTTP sends the requests when set; CACert is then not looked at.
	HTTP *http.Client

	setup  sync.Once
	client *http.Client
	broken error

	// hashing is held by the one who downloads to learn a digest; known keeps what was learnt.
	hashing chan struct{}
	known   map[version]string
}

// version of a file on the server, as far as its headers tell.
type version struct {
	url, etag, modified string
	size                int64
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

// Locate finds the bundle of a Kubernetes version ("v1.34.4") for an architecture ("amd64"), with its URL, size and
// digest. Where nobody published the digest and AllowUnverified is set, it downloads the bundle once to compute it, and
// takes as long: such a call belongs into the operation's context, not into that of a single request.
func (r *Repository) Locate(ctx context.Context, kubernetes, arch string) (spec.Bundle, error) {
	format := r.Format
	if format == "" {
		format = "tar.gz"
	}
	name := fmt.Sprintf("kubernetes-%s-%s.%s", kubernetes, arch, format)
	if !safeName.MatchString(kubernetes) || !safeName.MatchString(name) {
		return spec.Bundle{}, fault.As(fault.Configuration, fmt.Errorf("finding bundle %q: it is not a file name", name))
	}
	address, err := url.JoinPath(r.URL, kubernetes, name)
	if err != nil {
		return spec.Bundle{}, fault.As(fault.Configuration, fmt.Errorf("finding bundle %q: the repository is not a URL", name))
	}
	found, err := r.head(ctx, address)
	if err != nil {
		return spec.Bundle{}, fmt.Errorf("finding bundle %q: %w", name, err)
	}
	digest, err := r.digest(ctx, found, name)
	if err != nil {
		return spec.Bundle{}, fmt.Errorf("verifying bundle %q: %w", name, err)
	}
	return spec.Bundle{Name: name, SHA256: digest, Size: found.size, URL: address}, nil
}

// Open downloads a bundle that Locate found, from offset on. A server that knows no ranges sends everything, and the part
// before offset is read and dropped. Errors while reading have a class too.
func (r *Repository) Open(ctx context.Context, bundle spec.Bundle, offset int64) (io.ReadCloser, error) {
	switch {
	case bundle.URL == "":
		return nil, fmt.Errorf("downloading bundle %q: it has no URL", bundle.Name)
	case offset < 0 || (bundle.Size > 0 && offset > bundle.Size):
		return nil, fmt.Errorf("downloading bundle %q from byte %d: it has %d", bundle.Name, offset, bundle.Size)
	case bundle.Size > 0 && offset == bundle.Size:
		return http.NoBody, nil
	}
	body, err := r.open(ctx, bundle.URL, offset, bundle.Size)
	if err != nil {
		return nil, fmt.Errorf("downloading bundle %q: %w", bundle.Name, err)
	}
	return body, nil
}

// digest of a bundle, from the first of: the user's map, SHA256SUMS, the bundle itself.
func (r *Repository) digest(ctx context.Context, found version, name string) (string, error) {
	if digest, named := r.SHA256[name]; named {
		if !isDigest(digest) {
			return "", fault.As(fault.Configuration, fmt.Errorf("reading its digest: %q is not 64 hexadecimal digits", digest))
		}
		return strings.ToLower(digest), nil
	}
	sums, err := siblingURL(found.url, SumsFile)
	if err != nil {
		return "", fault.As(fault.Configuration, fmt.Errorf("finding %s: %w", SumsFile, err))
	}
	digest, missing, err := r.published(ctx, sums, name)
	switch {
	case err != nil:
		return "", err
	case digest != "":
		return digest, nil
	case r.AllowUnverified:
		return r.learn(ctx, found)
	}
	return "", fault.As(fault.Configuration, fmt.Errorf("its digest is not known: bundles.sha256 of argosy.yaml does not name it, and %s; "+
		"add the digest to bundles.sha256, or publish %s, or accept the bundle as it is with bundles.allowUnverified: true", missing, SumsFile))
}

// published looks a digest up in SHA256SUMS. When there is none, missing says why.
func (r *Repository) published(ctx context.Context, sums, name string) (digest, missing string, err error) {
	body, err := r.open(ctx, sums, 0, 0)
	var status *statusError
	if errors.As(err, &status) && (status.code == http.StatusNotFound || status.code == http.StatusGone) {
		return "", sums + " is not there", nil
	} else if err != nil {
		return "", "", fmt.Errorf("reading digests: %w", err)
	}
	defer func() { _ = body.Close() }()
	text, err := io.ReadAll(io.LimitReader(body, maxSums+1))
	if err != nil {
		return "", "", fmt.Errorf("reading digests from %q: %w", sums, err)
	}
	if len(text) > maxSums {
		return "", "", fault.As(fault.Configuration, fmt.Errorf("reading digests from %q: it has more than %d bytes", sums, maxSums))
	}
	digest, err = sumOf(text, name)
	if err != nil {
		return "", "", fault.As(fault.Configuration, fmt.Errorf("reading digests from %q: %w", sums, err))
	}
	return digest, sums + " does not name it", nil
}

// sumOf finds a file in the output of sha256sum: "<digest>  <name>", or "<digest> *<name>" for binary mode.
func sumOf(text []byte, name string) (string, error) {
	found := ""
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxSums+1)
	for lines.Scan() {
		digest, file, _ := strings.Cut(strings.TrimRight(lines.Text(), "\r "), " ")
		file = strings.TrimPrefix(strings.TrimPrefix(strings.TrimLeft(file, " "), "*"), "./")
		if file != name {
			continue
		}
		digest = strings.ToLower(digest)
		switch {
		case !isDigest(digest):
			return "", fmt.Errorf("the line of %q does not start with 64 hexadecimal digits", name)
		case found != "" && found != digest:
			return "", fmt.Errorf("%q is there twice, with two digests", name)
		}
		found = digest
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("splitting into lines: %w", err)
	}
	return found, nil
}

func isDigest(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha256.Size
}

// learn downloads a bundle to compute its digest, once for each version of the file.
func (r *Repository) learn(ctx context.Context, found version) (string, error) {
	r.prepare()
	select {
	case r.hashing <- struct{}{}:
		defer func() { <-r.hashing }()
	case <-ctx.Done():
		return "", unanswered(ctx, fmt.Errorf("waiting for the digest of %q: %w", found.url, ctx.Err()))
	}
	if digest, known := r.known[found]; known {
		return digest, nil
	}
	body, err := r.open(ctx, found.url, 0, found.size)
	if err != nil {
		return "", fmt.Errorf("downloading it for its digest: %w", err)
	}
	defer func() { _ = body.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return "", fmt.Errorf("downloading it for its digest: %w", err)
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	r.known[found] = digest
	return digest, nil
}

// head asks for a file's size without fetching it. Servers that do not answer HEAD (or sign their URLs for GET alone) are
// asked for the first byte.
func (r *Repository) head(ctx context.Context, address string) (version, error) {
	response, err := r.send(ctx, http.MethodHead, address, -1)
	var status *statusError
	if errors.As(err, &status) && (status.code == http.StatusMethodNotAllowed || status.code == http.StatusNotImplemented || status.code == http.StatusForbidden) {
		response, err = r.send(ctx, http.MethodGet, address, 0)
	}
	if err != nil {
		return version{}, err
	}
	_ = response.Body.Close()
	size := max(response.ContentLength, 0)
	if response.StatusCode == http.StatusPartialContent {
		_, size = contentRange(response)
	}
	return version{
		url: address, size: size,
		etag: response.Header.Get("ETag"), modified: response.Header.Get("Last-Modified"),
	}, nil
}

// open downloads a file from offset on; size is what it must have in all, or 0.
func (r *Repository) open(ctx context.Context, address string, offset, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	first := int64(-1)
	if offset > 0 {
		first = offset
	}
	response, err := r.send(ctx, http.MethodGet, address, first)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := &download{ctx: ctx, cancel: cancel, body: response.Body, url: address, stall: r.stall()}
	if err := body.start(response, offset, size); err != nil {
		_ = body.Close()
		return nil, err
	}
	return body, nil
}

func (r *Repository) stall() time.Duration {
	if r.Stall > 0 {
		return r.Stall
	}
	return defaultStall
}

// send makes one request; first is the first byte wanted, or -1 for no range; 0 asks for a single byte.
func (r *Repository) send(ctx context.Context, method, address string, first int64) (*http.Response, error) {
	r.prepare()
	if r.broken != nil {
		return nil, r.broken
	}
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, fault.As(fault.Configuration, fmt.Errorf("asking %q: %w", address, err))
	}
	// Unless told otherwise, net/http unpacks a .tar.gz that a server calls gzip-encoded, and the digest is then another.
	request.Header.Set("Accept-Encoding", "identity")
	switch {
	case first == 0:
		request.Header.Set("Range", "bytes=0-0")
	case first > 0:
		request.Header.Set("Range", "bytes="+strconv.FormatInt(first, 10)+"-")
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, unanswered(ctx, err)
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent {
		return response, nil
	}
	_ = response.Body.Close()
	status := &statusError{url: address, code: response.StatusCode}
	return nil, fault.As(status.class(), status)
}

// prepare makes what the zero Repository lacks.
func (r *Repository) prepare() {
	r.setup.Do(func() {
		r.hashing, r.known = make(chan struct{}, 1), map[version]string{}
		if r.client = r.HTTP; r.client == nil {
			r.client, r.broken = newClient(r.CACert)
		}
	})
}

func newClient(authorities []byte) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
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
			return nil, fault.As(fault.Configuration, errors.New("reading bundles.caCert: it holds no PEM certificate"))
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, CheckRedirect: stayEncrypted}, nil
}

// errPlainRedirect: a repository that is asked over TLS sends us on to plain HTTP, where anyone could answer.
var errPlainRedirect = errors.New("redirected from https to http")

func stayEncrypted(request *http.Request, via []*http.Request) error {
	const most = 10
	if len(via) >= most {
		return fmt.Errorf("redirected more than %d times", most)
	}
	if via[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
		return errPlainRedirect
	}
	return nil
}

// unanswered classifies a request that brought no response.
func unanswered(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.As(fault.Cancelled, err)
	case errors.As(err, &certificate):
		return fault.As(fault.Configuration, fmt.Errorf("%w; set bundles.caCert to the authority that signed the server's certificate", err))
	case errors.Is(err, errPlainRedirect):
		return fault.As(fault.Configuration, err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fault.As(fault.Configuration, err)
	}
	return fault.As(fault.Transient, err)
}

// statusError is an answer that is no success.
type statusError struct {
	url  string
	code int
}

func (s *statusError) Error() string {
	text := fmt.Sprintf("%s answers %d %s", s.url, s.code, http.StatusText(s.code))
	switch s.code {
	case http.StatusNotFound, http.StatusGone:
		text += "; check bundles.repository, the Kubernetes version, and that the bundle was published there"
	case http.StatusUnauthorized, http.StatusForbidden:
		text += "; the repository must be readable without a login"
	}
	return text
}

// class of an answer: missing or forbidden is the user's to mend, an overloaded or broken server may recover.
func (s *statusError) class() fault.Class {
	switch {
	case s.code == http.StatusNotFound, s.code == http.StatusGone, s.code == http.StatusUnauthorized, s.code == http.StatusForbidden:
		return fault.Configuration
	case s.code >= 500, s.code == http.StatusTooManyRequests, s.code == http.StatusRequestTimeout:
		return fault.Transient
	}
	return fault.Permanent
}

// siblingURL replaces a URL's last element.
func siblingURL(address, name string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("parsing a URL: %w", err)
	}
	parsed.RawPath = ""
	parsed.Path = path.Join(path.Dir(parsed.Path), name)
	return parsed.String(), nil
}
